"""Graphs over HTTP: runs that outlive their connections, and one module per wire protocol."""
