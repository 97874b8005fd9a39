"""The song pages, behind Airflow's login."""
