"""What `airflow kie doctor` checks."""
