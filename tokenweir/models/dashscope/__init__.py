"""Models by DashScope's own protocol."""
