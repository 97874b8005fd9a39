"""Many requests in one Airflow task: what is requested, how it is followed, and what became of each."""
