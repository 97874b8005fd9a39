"""Messages about runs and incidents."""
