"""What the api-server serves under /kie."""
