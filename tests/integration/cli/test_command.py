"""`airflow kie` in Airflow's real command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HEAVY = {"boto3", "botocore", "fastapi", "httpx", "PIL", "pydantic", "rich", "sqlalchemy", "airflow"}


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    quiet = {"PYTHONWARNINGS": "ignore::PendingDeprecationWarning"}  # Airflow prints one on Python 3.14
    known = {**os.environ, **quiet, **environment}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=known, check=False)


def test_airflow_shows_the_commands_and_gives_them_their_arguments(tmp_path: Path) -> None:
    home = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    script = (
        "import sys\n"
        "from airflow.cli.cli_parser import get_parser\n"
        "parser = get_parser()\n"
        "for words in (['kie', 'verify', 'archive', '--fast'], ['kie', 'check']):\n"
        "    args = parser.parse_args(words)\n"
        "    print(sorted(name for name in vars(args) if name not in ('func', 'subcommand')))\n"
        "args = parser.parse_args(['kie', 'verify', 'gs://archive'])\n"
        "try:\n"
        "    args.func(args)\n"
        "except SystemExit as ended:\n"
        "    print(ended.code)\n"
        "parser.parse_args(['kie', '--help'])\n"
    )
    ran = run("-c", script, **home)
    assert ran.returncode == 0, ran.stderr
    verify, check, code, *shown = ran.stdout.splitlines()
    assert verify == "['archive', 'fast', 'json', 'since']"
    assert check == "['kie_conn_id']"
    assert code == "2"
    assert "'gs://archive' is not an archive's address" in ran.stderr
    assert {"doctor", "check", "verify"} <= {line.split()[0] for line in shown if line.strip()}


def test_no_word_of_the_help_is_lost_in_what_airflow_takes_for_markup() -> None:
    from airflow_kie.cli.definition import get_kie_commands

    (group,) = get_kie_commands()
    texts = [text for one in group.subcommands for text in (one.help, one.description)]
    texts += [argument.kwargs["help"] for one in group.subcommands for argument in one.args]
    assert [text for text in texts if "[" in text] == []


def test_an_airflow_command_pays_for_none_of_what_ours_need() -> None:
    ran = run("-c", "import sys, airflow_kie.cli.definition; print(' '.join(sys.modules))")
    loaded = {name.partition(".")[0] for name in ran.stdout.split()}
    assert "airflow_kie" in loaded
    assert loaded & HEAVY == set()
