"""Links on Airflow's pages."""
