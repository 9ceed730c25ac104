"""Loss terms: pure functions, one family a file."""
