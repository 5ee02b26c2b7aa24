"""The store's RPCs: permissions, decoding, one command or query each, the answer or the error's status."""
