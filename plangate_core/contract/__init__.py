"""Helpers for the contract's messages."""
