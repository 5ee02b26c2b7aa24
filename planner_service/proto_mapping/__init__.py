"""Between the contract's messages and the planner's own types: `requests` of clients, `decoding`, `encoding`."""
