"""Corrections of the embedded model's replies."""
