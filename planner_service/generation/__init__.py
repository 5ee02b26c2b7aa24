"""From plain words to a draft of a plan: the model, its prompt, and its reply."""
