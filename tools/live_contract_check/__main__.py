"""`python -m tools.live_contract_check`: makes one cover, which is paid for, and judges every assumption about covers.

It reads the connection, `[kie]` and the bucket as Airflow does (AIRFLOW_HOME, AIRFLOW_CONN_…, AIRFLOW__KIE__…).
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from airflow_kie import settings
from airflow_kie._airflow_private import process
from airflow_kie.archive.inbox.song_request import id_errors
from airflow_kie.cli.doctor import default_connection, free_checks
from airflow_kie.cli.terminal import INTERRUPTED, agreed, complain, output_for_answers, say
from airflow_kie.client.errors import KieError
from airflow_kie.hooks.archive import open_song
from airflow_kie.hooks.kie import KieHook
from tools.live_contract_check.assumptions import Verdict, judged
from tools.live_contract_check.experiment import CoverExperiment
from tools.live_contract_check.observations import Step
from tools.live_contract_check.recording import write_recording


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check.

    :param arguments: of the command line; None: this process's own.
    :return: 0 if every assumption that was seen has held, 1 otherwise, 130 when it was interrupted.
    """
    options = _parser().parse_args(arguments)
    process.begin_command()
    with output_for_answers():
        hook = KieHook(options.kie_conn_id or default_connection())
        if not free_checks(hook.kie_conn_id):
            return 1
        problem = _problem(options)
        if problem:
            complain(f"{problem} Nothing was sent.")
            return 1
        try:
            return _check(hook, options)
        except KieError as error:
            complain(str(error))
            return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.live_contract_check", description=__doc__)
    parser.add_argument("music_task_id", help="the finished song to make the cover for: the task id of kie.ai/logs")
    parser.add_argument("--kie-conn-id", help="Airflow connection of type kie; by default the first allowed")
    parser.add_argument(
        "--recording",
        metavar="FILE",
        type=Path,
        default=Path(f"kie-cover-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"),
        help="where what KIE answered is written, redacted; by default kie-cover-<time>.json in this folder",
    )
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask before paying")
    return parser


def _problem(options: argparse.Namespace) -> str | None:
    """Return why the check cannot begin; None if it can."""
    if problems := id_errors([options.music_task_id]):
        return problems[0]
    if not settings.text("bucket"):
        return "Set a bucket in [kie] first: what is paid is recorded there before anything can fail."
    try:
        options.recording.touch()
    except OSError as error:
        return f"The recording cannot be written: {error}."
    return None


def _check(hook: KieHook, options: argparse.Namespace) -> int:
    archive = open_song(
        settings.text("aws_conn_id", "aws_default"),
        settings.text("bucket"),
        settings.text("prefix", "songs"),
        options.music_task_id,
    )
    with contextlib.closing(CoverExperiment(hook, archive, say)) as experiment:
        refusal = experiment.refusal()
        if refusal:
            complain(f"{refusal} Nothing was sent.")
            return 1
        experiment.song()
        if not agreed(_question(experiment, experiment.balance(Step.BALANCE_BEFORE)), yes=options.yes):
            complain("Nothing was sent.")
            return 1
        return _experimented(experiment, options.recording)


def _question(experiment: CoverExperiment, balance: float) -> str:
    price = settings.number("credits_per_cover", 0)
    cost = f"{price:g} credits" if price else "credits that KIE does not publish ([kie] credits_per_cover is not set)"
    return (
        f"One cover will be made for {experiment.title or 'the song'} ({experiment.music_task_id}) and paid for by "
        f"connection {experiment.hook.kie_conn_id}: {cost}; the balance is {balance:g}. Then the same request is sent "
        "once more. KIE documents that it makes one cover for a song; should that be wrong, a second one is charged."
    )


def _experimented(experiment: CoverExperiment, recording: Path) -> int:
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
        write_recording(recording, experiment.transport.exchanges)
        say(f"What KIE answered is in {recording}, without names, ids and links.")
    if code == INTERRUPTED:
        return code
    broken = _print_verdicts(experiment)
    say(_what_is_paid(experiment))
    return 1 if broken else code


def _print_verdicts(experiment: CoverExperiment) -> bool:
    """Print what became of every assumption; return whether one did not hold."""
    verdicts = judged(experiment.seen)
    say()
    for assumption, verdict, seen in verdicts:
        say(f"{verdict.value:<12}  {assumption.sentence}")
        say(f"{'':<12}  {seen}")
    counts = Counter(verdict for _, verdict, _ in verdicts)
    say()
    say(", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict) + ".")
    return counts[Verdict.BROKEN] > 0


def _what_is_paid(experiment: CoverExperiment) -> str:
    """Return what is paid and what happens to it."""
    if experiment.task_id is None:
        return (
            f"KIE has named no cover task. If a request was under way, search kie.ai/logs for song "
            f"{experiment.music_task_id}; another request for it is answered with the task that exists."
        )
    where = experiment.archive.bucket.url(experiment.archive.keys.pending)
    return (
        f"Cover task {experiment.task_id} is recorded in {where}. DAG cover_inbox starts the song soon, and its cover "
        "is archived without being paid for again."
    )


if __name__ == "__main__":
    sys.exit(main())
