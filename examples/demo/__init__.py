"""`python -m examples.demo`: a sentence becomes a plan, is divided, approved, executed and proved."""
