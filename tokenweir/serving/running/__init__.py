"""Runs of graphs: asked for, queued, recorded into the event log, and taken up after a kill."""
