"""What the servers and their clients share: the contract's helpers, RPC and process plumbing, the catalogue file."""
