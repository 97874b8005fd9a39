"""The commands of `airflow kie …` as data. Every `airflow` command loads this module, so it imports nothing heavy."""

from __future__ import annotations

from typing import Any

from airflow_kie._airflow_private import process


def get_kie_commands() -> list[Any]:
    """Return the command group; the provider info names this function."""
    cli = process.command_line()
    default = "by default all that kie_conn_ids allows (check, adopt, release: the first)"
    connection = cli.Arg(("--kie-conn-id",), help=f"Airflow connection of type kie; {default}")
    as_json = cli.Arg(("--json",), action="store_true", help="Print JSON instead of lines")
    yes = cli.Arg(("-y", "--yes"), action="store_true", help="Do not ask")
    default_archive = "s3://<bucket>/<prefix>; by default the configured bucket and prefix"

    def command(function: str, help: str, description: str, *args: Any) -> Any:
        return cli.ActionCommand(
            name=function.rpartition(".")[2],
            help=help,
            func=cli.lazy_load_command(f"airflow_kie.cli.{function}"),
            args=args,
            description=description,
        )

    commands = (
        command(
            "doctor.doctor",
            "Check whether everything is in order",
            "Check key, credits, clocks, limiter, ledger, spending switch, callbacks, bucket, inbox, pools, triggerer "
            "and DAGs. Costs nothing. Exit code 1 if something has failed.",
            connection,
            cli.Arg(("--redacted",), action="store_true", help="Leave out names, addresses, amounts: for bug reports"),
            as_json,
        ),
        command(
            "doctor.check",
            "Check key, credits, clocks, limiter and bucket",
            "The checks of one account that need KIE and the bucket only. Costs nothing. Exit code 1 if something has "
            "failed.",
            connection,
        ),
        command(
            "run.run",
            "Make one task and archive what it has made",
            "Say what an operation costs, ask once, make its task, wait for it, and archive the results in S3 or "
            "a folder; without a DAG or a scheduler. Ctrl-C, and the same line goes on with the same task: it is paid "
            "for once.",
            cli.Arg(("operation",), help="Such as veo.generate, suno.music, market: see docs/operations.md"),
            cli.Arg(("--request",), required=True, help="Its fields as JSON; @FILE reads a file, - the standard input"),
            cli.Arg(("--to",), required=True, help="s3://bucket/folder, or a folder of this machine"),
            cli.Arg(("--key",), help="Your own name for what is asked for: another name is another task"),
            cli.Arg(("--unchecked",), action="store_true", help="Send also what KIE's catalogue would refuse"),
            connection,
            yes,
        ),
        command(
            "simulator.simulator",
            "Start a simulated KIE, which costs nothing",
            "Serve KIE's API on this machine until Ctrl-C, and print the connection that leads to it; with --songs, "
            "also the ids of finished songs. Needs the extra simulator of this package.",
            cli.Arg(("--port",), type=int, default=8765, help="Port on 127.0.0.1; 0 takes a free one"),
            cli.Arg(("--speed",), type=float, default=1.0, help="Simulated seconds in a real second"),
            cli.Arg(("--credits",), type=float, default=10_000.0, help="The account's credits"),
            cli.Arg(("--songs",), type=int, default=0, help="Begin with so many finished songs, and print their ids"),
        ),
        command(
            "verify.verify",
            "Compare an archive in S3 with its manifests",
            "Read every archived file and compare size, SHA-256 and content type with its manifest. Exit code 0: all "
            "whole, also where nothing is archived yet and songs are pending; 1: something is wrong; 2: the archive "
            "could not be read, or there is none. A song whose whole folder is gone is not missed. With an id: that "
            "song or task alone.",
            cli.Arg(("archive",), nargs="?", help=f"{default_archive}; or KIE's id of any task"),
            cli.Arg(("--since",), help="Only songs archived at this date or later, such as 2026-11-01"),
            cli.Arg(("--fast",), action="store_true", help="Compare sizes only, without reading the files"),
            as_json,
        ),
        command(
            "library.index",
            "Show or rebuild the index of the library",
            "Say how many objects the index of an archive has. With --rebuild, read every manifest and write the "
            "index again: for an archive that is older than the library, or was changed by hand.",
            cli.Arg(("archive",), nargs="?", help=default_archive),
            cli.Arg(("--rebuild",), action="store_true", help="Read every manifest and write the index again"),
        ),
        command(
            "models.models",
            "List KIE's models, or show one with its fields and prices",
            "List the models of KIE's catalogue in whose name, title, provider or media all words are, with their "
            "prices in credits. One model's whole name shows its fields. With --refresh, ask KIE about these models, "
            "one a second, and keep what it says in the bucket: models and fields that this package does not know, "
            "and a line for each limit that changes. Costs nothing.",
            cli.Arg(("words",), nargs="*", help="Words, or a model's name; by default all models"),
            cli.Arg(("--refresh",), action="store_true", help="Ask KIE, and keep what it says in the bucket"),
            connection,
            as_json,
        ),
        command(
            "library.deliver",
            "Check whether distributors would take a release",
            "check: read every file of a release, compare it with its manifest and with what distributors ask of "
            "covers, tracks and metadata, and list what one of them would refuse. Exit code 0: nothing; 1: something; "
            "2: the release could not be read.",
            cli.Arg(("action",), choices=("check",), help="What to do"),
            cli.Arg(("release",), help="The release's name: that of its folder in release/"),
            cli.Arg(("--archive",), help=default_archive),
        ),
        command(
            "library.delete",
            "Delete a result from the archive",
            "List what the archive has of a song, of any other KIE task, or of a task that has made a part of a song: "
            "files, extras, its line in the index, its pending record, its inbox objects; and what remains elsewhere, "
            "and until when. With --yes it is deleted, unless a run works on it. What was paid stays in the ledger.",
            cli.Arg(("id",), help="KIE's id of any task"),
            cli.Arg(("--archive",), help=default_archive),
            cli.Arg(("-y", "--yes"), action="store_true", help="Delete it"),
        ),
        command(
            "where.where",
            "Show what is known of a song or of another KIE task",
            "Show a song's state, keys, paid covers and runs, why it failed, and what happens next; of any other KIE "
            "task where its results are, or until when KIE keeps what nobody has archived.",
            cli.Arg(("id",), help="KIE's id of any task"),
            cli.Arg(("--archive",), help=default_archive),
        ),
        command(
            "backlog.redrive",
            "Start pending songs again that no run works on, or archive what a task has made",
            "List the pending songs, say what starting them again can cost at most, ask once, and start them. Running "
            "it twice starts nothing twice. With an id: that song, or what that paid task has made and nobody has "
            "archived, which costs nothing.",
            cli.Arg(("id",), nargs="?", help="KIE's id of any task; by default all pending songs"),
            cli.Arg(
                ("--reason",),
                help="Only songs with this reason: of docs/on-call.md, a Python exception, or 'never failed'",
            ),
            cli.Arg(("--since",), help="Only songs that failed, or were first received, at this date or later"),
            cli.Arg(("--run",), help="Only songs on which this run was the last one to work: a run id"),
            cli.Arg(("--dry-run",), action="store_true", help="Only list them"),
            yes,
        ),
        command(
            "reconciling.reconcile",
            "Say what became of each song of a list",
            "Print each song of a list as CSV: id, then archived, pending, failed, expired (KIE has deleted its files) "
            "or unknown, and why. With --hand-in, start what has failed or is unknown. Exit code 1 where songs are "
            "missing.",
            cli.Arg(
                ("--list",),
                required=True,
                help="A file, or s3://bucket/key, as the inbox reads it: CSV with a column music_task_id, or JSON",
            ),
            cli.Arg(("--hand-in",), action="store_true", help="Start the songs that are missing"),
            yes,
        ),
        command(
            "spending.spending",
            "Stop or resume all new paid tasks of an account",
            "stop: no task of the account is made any more, on any worker within ten seconds; nothing fails, and what "
            "is paid is finished and archived. resume: they may be made again, each once. status: who has stopped "
            "what, when and why. Airflow's audit log has every change.",
            cli.Arg(("action",), choices=("stop", "resume", "status"), help="What to do"),
            cli.Arg(
                ("--account",),
                help="The connection's field account, else its id; by default all that kie_conn_ids allows",
            ),
            cli.Arg(("--reason",), default="", help="With stop: why, for everybody who wonders"),
        ),
        command(
            "spend.spend",
            "Show what a month has cost, by KIE's answers and by its price list",
            "Add up the ledger's requests of a month: credits quoted and used by operation, DAG, user or label, and "
            "how that compares with the account's balance; what the ledger does not explain is a line of its own.",
            cli.Arg(("--month",), help="Such as 2026-11; by default this month (UTC)"),
            cli.Arg(("--by",), choices=("operation", "dag", "user", "label"), default="operation", help="How to split"),
            cli.Arg(("--csv",), action="store_true", help="Print CSV instead of lines"),
            connection,
        ),
        command(
            "paid.doubts",
            "List requests that may have been paid for",
            "List the requests whose answer was lost: it is not known whether KIE has made and charged a task.",
            connection,
        ),
        command(
            "paid.adopt",
            "Say which KIE task a request has",
            "Record the KIE task of a request whose answer was lost: every run uses it, and none pays again.",
            cli.Arg(("request",), help="As the error names it, such as suno.music/0123…"),
            cli.Arg(("id",), help="KIE's task id, of kie.ai/logs"),
            connection,
        ),
        command(
            "paid.release",
            "Let a request be paid for again",
            "Record that requests may be sent again: kie.ai/logs shows no task of them, or their tasks are given up.",
            cli.Arg(("request",), nargs="+", help="As the error names it, such as suno.music/0123…"),
            connection,
            yes,
        ),
        command(
            "backlog.forget",
            "Give up a pending song",
            "Delete a song's pending record: nothing starts the song again, and no alert counts it. For an id that was "
            "mistyped, or a song that KIE rejects. Says what is paid for, and asks once. Of any other task: no alert "
            "says that it is not archived.",
            cli.Arg(("id",), help="KIE's id of any task"),
            yes,
        ),
    )
    help = "Check and fix what KIE.ai and Airflow do together"
    return [cli.GroupCommand(name="kie", help=help, subcommands=commands)]
