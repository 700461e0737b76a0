"""Timeouts and retries of model calls."""
