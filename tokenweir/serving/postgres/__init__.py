"""The home for several servers: records, events and checkpoints in one Postgres."""
