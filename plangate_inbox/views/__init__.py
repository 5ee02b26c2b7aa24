"""What pages show, computed from the contract's messages without I/O."""
