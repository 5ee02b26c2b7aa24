"""The review page and the notifications: a client of the two servers like any other.

web/      signing in, sessions, protection against other sites, templates
pages/    one handler per page or form
views/    what a page shows, computed without I/O
"""
