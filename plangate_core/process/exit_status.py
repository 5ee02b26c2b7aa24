"""Exit statuses that more than one program has."""

NOT_CONFIRMED = 8
"""Something would have been changed without a confirmation."""
