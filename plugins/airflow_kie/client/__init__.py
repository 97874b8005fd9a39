"""KIE.ai over HTTP: operations, requests, answers, errors and the rules of waiting. Imports nothing of Airflow."""
