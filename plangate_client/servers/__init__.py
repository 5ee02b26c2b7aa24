"""Both servers run as one group on this machine, and the credentials they need."""
