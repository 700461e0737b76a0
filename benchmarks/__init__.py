"""Measures the CPU time of a token for each way in which a program can read it.

Not part of the package. ``python -m benchmarks`` (or ``make bench``) runs every way side by side
against a scripted server on loopback, and prints ratios. Only ratios are meaningful, because only
they compare figures of one machine and one run. ``serving/`` does the same for servers.
"""
