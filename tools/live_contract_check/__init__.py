"""Covers made on the real KIE, on purpose, to hold every assumption about them against what KIE answers.

`.venv/bin/python -m tools.live_contract_check MUSIC_TASK_ID` asks before anything costs credits, and leaves a redacted
recording.
"""
