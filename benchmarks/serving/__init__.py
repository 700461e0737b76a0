"""Measures what a token costs a server that carries graphs' tokens to clients over HTTP.

Each server is a separate process, between the scripted server and a load client, which is a third
process. Tokens carry the time at which they left the scripted server, so the client knows how late
each one is.
"""
