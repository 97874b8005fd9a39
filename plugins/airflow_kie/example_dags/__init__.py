"""DAGs to copy from, one per topic; a test runs each of them on the simulator."""
