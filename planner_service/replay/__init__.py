"""Recording what became of requests, and making the plans again from the recording."""
