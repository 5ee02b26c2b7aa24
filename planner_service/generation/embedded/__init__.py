"""The language model that needs nothing but Python: its weights and the engine that runs it."""
