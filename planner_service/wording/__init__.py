"""What words mean: comparing the text of a request with actions and arguments. No I/O, no model."""
