"""Tells people that something waits for them, or has ended, by webhook, e-mail or a command.

Every receiver has a task and a durable position in the log of its own: the log is the outbox. A receiver that is away
keeps its position and gets everything when it is back; a slow one delays no other.
"""
