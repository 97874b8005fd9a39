"""What ties the lifecycle to Airflow: task state, retries, outages, ways to wait, XCom keys."""
