"""Many requests in one Airflow task: what is asked for, how it is followed, and what became of each."""
