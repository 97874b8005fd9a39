"""The commands of `airflow kie …` as data. Every `airflow` command loads this module, so it imports nothing heavy."""

from __future__ import annotations

from typing import Any

from airflow_kie._airflow_private import process


def get_kie_commands() -> list[Any]:
    """Return the command group; the provider info names this function."""
    words = process.command_line()
    connection = words.Arg(
        ("--kie-conn-id",), help="Airflow connection of type kie; by default all that kie_conn_ids allows"
    )
    as_json = words.Arg(("--json",), action="store_true", help="Print JSON instead of lines")
    yes = words.Arg(("-y", "--yes"), action="store_true", help="Do not ask")

    def command(name: str, help: str, description: str, *args: Any, module: str = "") -> Any:
        function = words.lazy_load_command(f"airflow_kie.cli.{module or name}.command")
        return words.ActionCommand(name=name, help=help, func=function, args=args, description=description)

    return [
        words.GroupCommand(
            name="kie",
            help="Check and fix what KIE.ai and Airflow do together",
            subcommands=(
                command(
                    "doctor",
                    "Look whether everything is in order",
                    "Look at key, credits, clocks, limiter, pool, callbacks, triggerer, bucket and DAGs. Costs "
                    "nothing. Exit code 1 if something has failed.",
                    connection,
                    words.Arg(
                        ("--redacted",),
                        action="store_true",
                        help="Leave out names, addresses and amounts: for a bug report",
                    ),
                    as_json,
                ),
                command(
                    "check",
                    "Check key, credits, clocks, limiter and bucket",
                    "The checks of one account that need KIE and the bucket only. Costs nothing. Exit code 1 if "
                    "something has failed.",
                    words.Arg(("--kie-conn-id",), help="Airflow connection of type kie; by default the first allowed"),
                ),
                command(
                    "verify",
                    "Compare an archive in S3 with its manifests",
                    "Read every archived file and compare size, SHA-256 and content type with its manifest. Exit code "
                    "0: all whole, also where nothing is archived yet and songs are owed something; 1: something is "
                    "wrong; 2: the archive could not be read, or there is none. A song whose whole folder is gone is "
                    "not missed.",
                    words.Arg(
                        ("archive",),
                        nargs="?",
                        help="s3://<bucket>/<prefix>; by default the configured bucket and prefix",
                    ),
                    words.Arg(("--since",), help="Only songs archived at this date or later, such as 2026-11-01"),
                    words.Arg(("--fast",), action="store_true", help="Compare sizes only, without reading the files"),
                    as_json,
                ),
                command(
                    "where",
                    "Tell what is known of a song",
                    "Tell of a song: its state, keys, paid covers and runs, why it failed, and what happens next.",
                    words.Arg(("id",), help="A music task id, or the id of its cover task"),
                    words.Arg(
                        ("--archive",), help="s3://<bucket>/<prefix>; by default the configured bucket and prefix"
                    ),
                ),
                command(
                    "redrive",
                    "Start again what is owed and nobody works on",
                    "List the songs that are owed something, say what starting them again can cost at most, ask once, "
                    "and start them. Running it twice starts nothing twice.",
                    words.Arg(
                        ("--reason",),
                        help="Only songs with this reason: of docs/on-call.md, a Python exception, or 'never failed'",
                    ),
                    words.Arg(("--since",), help="Only songs that failed, or were heard of, at this date or later"),
                    words.Arg(("--dry-run",), action="store_true", help="Only list them"),
                    yes,
                ),
                command(
                    "spending",
                    "Stop or resume all new paid tasks of an account",
                    "stop: no task of the account is made any more, on any worker within ten seconds; nothing fails, "
                    "and what is paid is finished and archived. resume: they may be made again, each once. status: who "
                    "has stopped what, when and why. Airflow's audit log has every change.",
                    words.Arg(("action",), choices=("stop", "resume", "status"), help="What to do"),
                    words.Arg(
                        ("--account",),
                        help="The connection's field account, else its id; by default all that kie_conn_ids allows",
                    ),
                    words.Arg(("--reason",), default="", help="With stop: why, for everybody who wonders"),
                    module="spending_switch",
                ),
                command(
                    "forget",
                    "Say that nobody is owed a song any more",
                    "Delete a song's pending record: nothing starts the song again, and no alert counts it. For an id "
                    "that was mistyped, or a song that KIE rejects. Says what is paid for, and asks once.",
                    words.Arg(("id",), help="A music task id"),
                    yes,
                ),
            ),
        )
    ]
