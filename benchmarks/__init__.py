"""What a token costs, in CPU time, by each way that a program can read it.

Not part of the package. ``python -m benchmarks`` (or ``make bench``) runs every way side by side
against a scripted server on loopback, and prints ratios: only these mean anything, because only
these were taken on one machine in one run. ``serving/`` does the same for servers.
"""
