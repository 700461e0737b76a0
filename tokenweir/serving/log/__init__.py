"""The event log of runs: its interface, and its homes in memory and on a disk."""
