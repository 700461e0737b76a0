"""Models by name, and all that their calls need."""
