"""Signing in, sessions, protection against other sites, templates."""
