"""Runs of graphs: created, queued, recorded into the event log, and resumed after a crash."""
