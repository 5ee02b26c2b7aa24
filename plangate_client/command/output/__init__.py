"""What the command prints: tables, views, JSON."""
