"""`airflow kie …`: is everything in order, is it true, is the archive whole."""
