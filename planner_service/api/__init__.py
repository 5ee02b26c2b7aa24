"""The planner's RPCs: a request is decoded, one use case runs, the answer or the error's status is encoded."""
