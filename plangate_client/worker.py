"""Workers in Python."""
