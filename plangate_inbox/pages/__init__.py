"""One handler per page or form."""
