"""New tasks of an account, counted over all processes."""
