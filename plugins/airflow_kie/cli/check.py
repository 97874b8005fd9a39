"""`airflow kie check`: the free part asks, `--spend` makes one cover and holds every assumption against it."""

from __future__ import annotations

import contextlib
import sys
from argparse import Namespace
from collections import Counter
from pathlib import Path

from airflow_kie import settings
from airflow_kie._airflow_private import metadata
from airflow_kie.archive.inbox.song_request import mistakes_in_ids
from airflow_kie.cli.assumptions import Verdict, judged
from airflow_kie.cli.checks.account import key_findings, limiter_findings
from airflow_kie.cli.checks.findings import failed, looked, report
from airflow_kie.cli.checks.installation import bucket_findings
from airflow_kie.cli.recording import write_recording
from airflow_kie.cli.seen import Step
from airflow_kie.cli.spending import CoverExperiment
from airflow_kie.cli.terminal import agreed, complain, ours_alone, say
from airflow_kie.client.errors import KieError
from airflow_kie.hooks.archive import open_song
from airflow_kie.hooks.kie import KieHook

INTERRUPTED = 130


def command(args: Namespace) -> None:
    """Run the command.

    :param args: `kie_conn_id`, `spend`, `music_task_id`, `recording`, `yes`.
    :raises SystemExit: 0 if all is in order and no assumption was broken, 1 otherwise, 130 when it was interrupted.
    """
    metadata.begin_command()
    with ours_alone():
        sys.exit(_run(args))


def _run(args: Namespace) -> int:
    conn_id = args.kie_conn_id or next(iter(settings.allowed_connections()), KieHook.default_conn_name)
    hook = KieHook(conn_id)
    if not _free_part(hook):
        return 1
    if not args.spend:
        return 0
    mistake = _mistake(args)
    if mistake:
        complain(mistake)
        return 1
    try:
        return _spend(hook, args)
    except KieError as error:
        complain(str(error))
        return 1


def _free_part(hook: KieHook) -> bool:
    """Print what costs nothing to know; return whether it is good enough to spend on."""
    try:
        _ = hook.account
    except KieError as error:
        return not report([failed("connection", error)], [])
    checks = (
        ("key", lambda: key_findings(hook)),
        ("limiter", lambda: limiter_findings(hook)),
        ("bucket", bucket_findings),
    )
    return not report((found for check, look in checks for found in looked(check, look)), [])


def _mistake(args: Namespace) -> str | None:
    if not args.music_task_id:
        return "Name the song with --music-task-id: the task id of kie.ai/logs. Nothing was sent."
    if mistakes_in_ids([args.music_task_id]):
        return f"{mistakes_in_ids([args.music_task_id])[0]} Nothing was sent."
    if not settings.text("bucket"):
        return "Set a bucket in [kie] first: what is paid is noted there before anything can fail. Nothing was sent."
    try:
        if args.recording:
            Path(args.recording).touch()
    except OSError as error:
        return f"The recording cannot be written: {error}. Nothing was sent."
    return None


def _spend(hook: KieHook, args: Namespace) -> int:
    archive = open_song(
        settings.text("aws_conn_id", "aws_default"),
        settings.text("bucket"),
        settings.text("prefix", "songs"),
        args.music_task_id,
    )
    with contextlib.closing(CoverExperiment(hook, archive, say)) as experiment:
        return _agreed_and_spent(experiment, args)


def _agreed_and_spent(experiment: CoverExperiment, args: Namespace) -> int:
    refusal = experiment.refusal()
    if refusal:
        complain(f"{refusal} Nothing was sent.")
        return 1
    experiment.song()
    balance = experiment.balance(Step.BALANCE_BEFORE)
    if not agreed(_question(args.music_task_id, experiment.title, experiment.hook.kie_conn_id, balance), yes=args.yes):
        complain("Nothing was sent.")
        return 1
    return _experimented(experiment, args)


def _question(music_task_id: str, title: str | None, conn_id: str, balance: float) -> str:
    price = settings.number("credits_per_cover", 0)
    cost = f"{price:g} credits" if price else "credits that KIE does not publish ([kie] credits_per_cover is not set)"
    return (
        f"One cover will be made for {title or 'the song'} ({music_task_id}) and paid for by connection {conn_id}: "
        f"{cost}; the balance is {balance:g}. Then the same request is sent once more. KIE documents that it makes "
        "one cover for a song; should that be wrong, a second one is charged."
    )


def _experimented(experiment: CoverExperiment, args: Namespace) -> int:
    code = 0
    try:
        experiment.run()
    except KieError as error:
        complain(str(error))
        code = 1
    except KeyboardInterrupt:
        complain(f"Interrupted. {_what_is_paid(experiment)}")
        code = INTERRUPTED
    finally:
        if args.recording:
            write_recording(Path(args.recording), experiment.transport.exchanges)
            say(f"What KIE answered is in {args.recording}, without names, ids and links.")
    if code == INTERRUPTED:
        return code
    broken = _print_verdicts(experiment)
    say(_what_is_paid(experiment))
    return 1 if broken else code


def _print_verdicts(experiment: CoverExperiment) -> bool:
    """Print what became of every assumption; return whether one did not hold."""
    verdicts = judged(experiment.seen)
    say()
    for assumption, verdict, told in verdicts:
        say(f"{verdict.value:<12}  {assumption.sentence}")
        say(f"{'':<12}  {told}")
    counts = Counter(verdict for _, verdict, _ in verdicts)
    say()
    say(", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict) + ".")
    return counts[Verdict.BROKEN] > 0


def _what_is_paid(experiment: CoverExperiment) -> str:
    """Return what is paid and what becomes of it."""
    if experiment.task_id is None:
        return (
            f"KIE has named no cover task. If a request was under way, look at kie.ai/logs for song "
            f"{experiment.music_task_id}; another request for it is answered with the task that exists."
        )
    where = experiment.archive.bucket.url(experiment.archive.keys.pending)
    return (
        f"Cover task {experiment.task_id} is noted in {where}. DAG cover_inbox starts the song soon, and its cover is "
        "archived without being paid for again."
    )
