"""What a model may say and what it said: the reply's grammar and form, reading, repair, diagnosis of failures."""
