"""The catalogue file: actions, the JSON Schema of their arguments, how they are carried out."""
