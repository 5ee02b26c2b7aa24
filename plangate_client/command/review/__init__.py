"""Subcommands for those who decide: what waits, what is shown, approve, reject, revise."""
