"""The databases: models, sessions, readers, migrations. The only place that knows SQL."""
