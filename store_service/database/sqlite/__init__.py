"""What is special about a SQLite file: its driver, its lock, copies of it."""
