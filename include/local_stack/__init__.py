"""The local stack behind ``./run``: simulator, an S3 server, Airflow, and what starts, shows and stops them."""
