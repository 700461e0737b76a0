"""How long a model is waited for, and when it is asked again."""
