"""The process around a server: files, standard output, environment variables, background tasks."""
