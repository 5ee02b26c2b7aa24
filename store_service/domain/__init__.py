"""The store's rules: what plans and proposals are, how they change, and what is written down about it.

Pure Python: nothing here reads a clock, a file, a socket or a database, and nothing here imports a library that does.
Entities are frozen; a change is a new entity. That is what makes a refused command leave no mark.
"""
