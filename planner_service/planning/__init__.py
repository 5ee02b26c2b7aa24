"""The use cases: a plan is generated, checked, governed and committed."""
