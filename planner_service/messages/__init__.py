"""Between the contract's messages and the planner's own types; shared by `api` and `store_gateway`."""
