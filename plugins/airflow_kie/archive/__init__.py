"""The archive in S3: keys, checks, manifest and pending record; independent of Airflow."""
