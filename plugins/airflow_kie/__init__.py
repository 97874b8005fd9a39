"""KIE.ai for Apache Airflow: hook, operators, sensors, triggers and the transfer to S3."""

__version__ = "0.1.0"
