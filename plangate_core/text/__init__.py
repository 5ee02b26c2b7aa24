"""Texts that others wrote, made short and safe to show."""
