"""What a node calls: models, the token writer, and ``@node``."""
