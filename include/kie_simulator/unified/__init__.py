"""KIE's unified form: every operation and every market model through ``POST /api/v1/jobs/createTask``.

Written from KIE's pages of October 2026, the one recorded body of a sounds task and reports of people who measured;
what none of them says is a setting, or is marked as a guess.
"""
