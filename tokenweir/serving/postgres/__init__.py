"""The home of several servers: records, events and checkpoints in one Postgres."""
