"""One cover made on the real KIE, on purpose, to hold every assumption about covers against what KIE answers.

`.venv/bin/python -m tools.live_contract_check MUSIC_TASK_ID` asks before it pays, and leaves a redacted recording.
"""
