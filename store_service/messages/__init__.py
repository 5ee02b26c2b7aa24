"""Between the contract's messages and the store's commands, queries and entities."""
