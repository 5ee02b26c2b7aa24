"""The contract's three services: each RPC is decoded, done by one command or query, and encoded. Nothing else."""
