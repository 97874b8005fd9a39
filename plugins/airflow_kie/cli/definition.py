"""The commands of `airflow kie …` as data. Every `airflow` command loads this module, so it imports nothing heavy."""

from __future__ import annotations

from typing import Any

from airflow_kie._airflow_private import process


def get_kie_commands() -> list[Any]:
    """Return the command group; the provider info names this function."""
    cli = process.command_line()
    of_type = "Airflow connection of type kie; by default"
    one = cli.Arg(("--kie-conn-id",), help=f"{of_type} the first one of the setting kie_conn_ids")
    all_of_them = cli.Arg(("--kie-conn-id",), help=f"{of_type} every one of the setting kie_conn_ids")
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
            all_of_them,
            cli.Arg(("--redacted",), action="store_true", help="Leave out names, addresses, amounts: for bug reports"),
            as_json,
        ),
        command(
            "doctor.check",
            "Check key, credits, clocks, limiter and bucket",
            "Run only the checks that need KIE and the bucket, for one account. Costs nothing. Exit code 1 if "
            "something has failed.",
            one,
        ),
        command(
            "run.run",
            "Run one task and archive its results",
            "Show what an operation costs, ask for confirmation, create its task, wait for it, and archive the results "
            "in S3 or a local folder. Needs no DAG and no scheduler. After Ctrl-C, the same command continues with the "
            "same task, which is paid for once.",
            cli.Arg(("operation",), help="Such as veo.generate, suno.music, market: see docs/operations.md"),
            cli.Arg(
                ("--request",), required=True, help="The request's fields as JSON; @FILE reads a file, - standard input"
            ),
            cli.Arg(("--to",), required=True, help="s3://bucket/folder, or a local folder"),
            cli.Arg(("--key",), help="Your own name for the request: a different name creates a different task"),
            cli.Arg(("--unchecked",), action="store_true", help="Send it even if KIE's catalogue would reject it"),
            one,
            yes,
        ),
        command(
            "simulator.simulator",
            "Start a simulated KIE, which costs nothing",
            "Serve KIE's API on this machine until Ctrl-C, and print the connection to use; with --songs, also the ids "
            "of finished songs. Needs the package's extra `simulator`.",
            cli.Arg(("--port",), type=int, default=8765, help="Port on 127.0.0.1; 0 chooses a free one"),
            cli.Arg(("--speed",), type=float, default=1.0, help="Simulated seconds per real second"),
            cli.Arg(("--credits",), type=float, default=10_000.0, help="The account's credits"),
            cli.Arg(("--songs",), type=int, default=0, help="Start with this many finished songs, and print their ids"),
        ),
        command(
            "verify.verify",
            "Compare an archive in S3 with its manifests",
            "Read every archived file and compare size, SHA-256 and content type with its manifest. With an id, check "
            "only that song or task. Exit code 0: everything is complete, or songs are pending and nothing is archived "
            "yet; 1: something is wrong; 2: no archive was found, or it could not be read. A song whose whole folder "
            "is gone is not detected.",
            cli.Arg(("archive",), nargs="?", help=f"{default_archive}; or KIE's id of any task"),
            cli.Arg(("--since",), help="Only songs archived on or after this date (UTC), such as 2026-11-01"),
            cli.Arg(("--fast",), action="store_true", help="Compare sizes only, without reading the files"),
            as_json,
        ),
        command(
            "library.index",
            "Show or rebuild the index of the library",
            "Show how many objects an archive's index has. With --rebuild, read every manifest and rewrite the index: "
            "for an archive that is older than the library, or was changed by hand.",
            cli.Arg(("archive",), nargs="?", help=default_archive),
            cli.Arg(("--rebuild",), action="store_true", help="Read every manifest and rewrite the index"),
        ),
        command(
            "models.models",
            "List KIE's models, or show one with its fields and prices",
            "List the models in KIE's catalogue that match all words in name, title, provider or media, with their "
            "prices in credits. A model's full name shows its fields. With --refresh, ask KIE about these models, one "
            "per second, store in the bucket the models and fields that this package does not know, and print a line "
            "for each limit that has changed. Costs nothing.",
            cli.Arg(("words",), nargs="*", help="Words, or a model's name; by default all models"),
            cli.Arg(("--refresh",), action="store_true", help="Ask KIE, and store its answers in the bucket"),
            one,
            as_json,
        ),
        command(
            "library.deliver",
            "Check whether distributors would accept a release",
            "check: read every file of a release, compare it with its manifest and with distributors' requirements for "
            "covers, tracks and metadata, and list what any of them would reject. Exit code 0: nothing; 1: something; "
            "2: the release could not be read.",
            cli.Arg(("action",), choices=("check",), help="What to do"),
            cli.Arg(("release",), help="The release's name, which is also its folder in release/"),
            cli.Arg(("--archive",), help=default_archive),
        ),
        command(
            "library.delete",
            "Delete a result from the archive",
            "List everything the archive has for a song, any other KIE task, or a task that made a part of a song: "
            "files, extras, its line in the index, its pending record and its inbox objects; also what remains "
            "elsewhere, and until when. With --yes, delete it, unless a run is working on it. The ledger of paid "
            "requests is kept.",
            cli.Arg(("id",), help="KIE's id of any task"),
            cli.Arg(("--archive",), help=default_archive),
            cli.Arg(("-y", "--yes"), action="store_true", help="Delete it"),
        ),
        command(
            "where.where",
            "Show what is known about a song or another KIE task",
            "Show a song's state, keys, paid covers and runs, why it failed, and what happens next; for any other KIE "
            "task, where its results are, or until when KIE keeps them if they are not archived.",
            cli.Arg(("id",), help="KIE's id of any task"),
            cli.Arg(("--archive",), help=default_archive),
        ),
        command(
            "backlog.redrive",
            "Restart pending songs that no run is working on, or archive a task's results",
            "List the pending songs, show the most that restarting them can cost, ask for confirmation, and restart "
            "them. Running it twice starts nothing twice. With an id: restart only that song, or archive that paid "
            "task's results, which costs nothing; exit code 1 if nothing of it is here.",
            cli.Arg(("id",), nargs="?", help="KIE's id of any task; by default all pending songs"),
            cli.Arg(
                ("--reason",),
                help="Only songs with this reason: one from docs/on-call.md, a Python exception, or 'never failed'",
            ),
            cli.Arg(("--since",), help="Only songs that failed, or were first received, on or after this date (UTC)"),
            cli.Arg(("--run",), help="Only songs that this run was the last to work on: a run id"),
            cli.Arg(("--dry-run",), action="store_true", help="Only list them"),
            yes,
        ),
        command(
            "reconciling.reconcile",
            "Show the state of each song in a list",
            "Print each song in a list as CSV: its id, its state (archived, pending, failed, expired because KIE has "
            "deleted its files, or unknown), and why. With --hand-in, start the songs that failed or are unknown. Exit "
            "code 1 if songs are missing.",
            cli.Arg(
                ("--list",),
                required=True,
                help="A file or s3://bucket/key in an inbox format: CSV with a column music_task_id, or JSON",
            ),
            cli.Arg(("--hand-in",), action="store_true", help="Start the songs that are missing"),
            yes,
        ),
        command(
            "spending.spending",
            "Stop or resume all new paid tasks of an account",
            "stop: within ten seconds, no worker creates new paid tasks for the account; nothing fails, and tasks that "
            "are already paid for are finished and archived. resume: new tasks are allowed again; each waiting request "
            "is sent once. status: show who has stopped which account, when and why. Every change is in Airflow's "
            "audit log.",
            cli.Arg(("action",), choices=("stop", "resume", "status"), help="What to do"),
            cli.Arg(
                ("--account",),
                help="The connection's field account, or else its id; by default those of the setting kie_conn_ids",
            ),
            cli.Arg(("--reason",), default="", help="With stop: the reason, which is shown to everybody"),
        ),
        command(
            "spend.spend",
            "Show what a month has cost: quoted by KIE's price list, and used as KIE reports it",
            "Add up a month of the ledger: credits quoted and used by operation, DAG, user or label, compared with the "
            "change in the account's balance. What the ledger does not explain is a separate line.",
            cli.Arg(("--month",), help="Such as 2026-11; by default this month (UTC)"),
            cli.Arg(("--by",), choices=("operation", "dag", "user", "label"), default="operation", help="How to split"),
            cli.Arg(("--csv",), action="store_true", help="Print CSV instead of lines"),
            all_of_them,
        ),
        command(
            "paid.doubts",
            "List requests that may have been paid for",
            "List the requests whose answer was lost: it is not known whether KIE created and charged a task.",
            all_of_them,
        ),
        command(
            "paid.adopt",
            "Record which KIE task a request created",
            "Record the KIE task of a request whose answer was lost. Every run uses it, and none pays again.",
            cli.Arg(("request",), help="As named in the error, such as suno.music/0123…"),
            cli.Arg(("id",), help="KIE's task id, from kie.ai/logs"),
            one,
        ),
        command(
            "paid.release",
            "Let a request be paid for again",
            "Record that requests may be sent again, because kie.ai/logs shows no task for them, or you give up "
            "their tasks.",
            cli.Arg(("request",), nargs="+", help="As named in the error, such as suno.music/0123…"),
            one,
            yes,
        ),
        command(
            "backlog.forget",
            "Give up a pending song",
            "Delete a song's pending record: nothing restarts the song, and no alert counts it. For a mistyped id, or "
            "a song that KIE rejects. Shows why it is pending, and asks for confirmation; its paid tasks stay in the "
            "ledger. For any other task: no alert reports that it is not archived.",
            cli.Arg(("id",), help="KIE's id of any task"),
            yes,
        ),
    )
    help = "Run, check and repair KIE.ai tasks"
    return [cli.GroupCommand(name="kie", help=help, subcommands=commands)]
