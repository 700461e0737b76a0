"""Two displays for files: live lanes on a terminal, plain tokens into anything else."""
