"""What each command does to a plan or proposal: pure functions from one frozen entity to the next."""
