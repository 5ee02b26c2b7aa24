"""Between the contract's messages and the domain: `encoding`, `decoding`, and `commands` made of requests."""
