"""Private APIs of Airflow: each with its reason, the version it was seen in, and what happens without it."""
