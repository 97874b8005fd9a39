"""One paid KIE task from its create to its files: record, rules, polling, driver. No Airflow."""
