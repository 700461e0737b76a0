"""Models that use DashScope's own protocol."""
