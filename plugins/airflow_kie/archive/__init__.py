"""What a song looks like in S3: keys, checks, manifest and pending record; knows nothing of Airflow."""
