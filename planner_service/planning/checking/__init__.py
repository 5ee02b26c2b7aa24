"""What a draft means: valid jobs, assumed arguments, doubts that need a person, ties between steps, decisions."""
