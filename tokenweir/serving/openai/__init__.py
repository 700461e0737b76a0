"""OpenAI's protocol: each graph is a model."""
