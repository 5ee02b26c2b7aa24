"""The event log: recent events, watches, verification, signed checkpoints."""
