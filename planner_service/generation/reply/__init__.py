"""What a model may reply, and what it replied: the reply's grammar and form, reading, repair, diagnosis of failures."""
