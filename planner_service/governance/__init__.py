"""Catalogue and policy in force, and what they decide about a job."""
