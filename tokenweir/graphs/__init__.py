"""Ready graphs, each with ``build`` and ``graph``, and the loader that finds graphs by name."""
