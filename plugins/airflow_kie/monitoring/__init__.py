"""Health checks and incidents."""
