"""What all protocols share for HTTP: bodies, connections, streams, keys, health, errors."""
