"""Subcommands that set up and run servers: projects, credentials, the contract, `up`."""
