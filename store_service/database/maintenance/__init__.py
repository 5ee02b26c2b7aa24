"""Offline work on a whole database: check, copy, export."""
