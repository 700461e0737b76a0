"""What all protocols share of HTTP: bodies, connections, streams, keys, health, refusals."""
