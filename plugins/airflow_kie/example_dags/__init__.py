"""DAGs to copy from, one a topic; each runs in a test on the simulator."""
