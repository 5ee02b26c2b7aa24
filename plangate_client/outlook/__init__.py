"""What every client shows before and after a decision, computed from the contract's messages without I/O."""
