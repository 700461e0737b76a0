"""What a token costs a server that carries graphs' tokens to clients over HTTP.

Each server is a process of its own, with the scripted server behind it and a load client, a third
process, before it. Tokens carry the time at which they left the scripted server, so that the client
can tell how late each one is.
"""
