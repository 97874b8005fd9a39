"""The local stack behind ``./run``: simulator, S3 over a folder, Airflow, and what starts, shows and stops them."""
