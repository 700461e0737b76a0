"""The event log of runs: its interface, and implementations in memory and on disk."""
