"""KIE's chat models: they make no task, and answer at once in the words of OpenAI, Anthropic or Google. No Airflow."""
