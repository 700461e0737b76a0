"""OpenAI's chat protocol: each graph is a model."""
