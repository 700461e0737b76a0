"""Plain server-sent events."""
