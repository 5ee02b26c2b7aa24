"""What a model is shown: instructions, examples, the catalogue as text, the request."""
