"""`python -m tools.live_contract_check`: makes one cover for a finished song and judges what we assume of KIE.

KIE's price list says that covers are free; whatever costs credits is asked for first. Each variant has its own check.

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
from typing import Any

from airflow_kie import settings
from airflow_kie._airflow_private import process
from airflow_kie.archive.inbox.song_request import id_errors
from airflow_kie.cli.doctor import default_connection, free_checks
from airflow_kie.cli.terminal import INTERRUPTED, agreed, complain, output_for_answers, say
from airflow_kie.client.catalogue.prices import quote
from airflow_kie.client.errors import KieError
from airflow_kie.client.operations.suno import COVER
from airflow_kie.hooks.archive import open_song
from airflow_kie.hooks.kie import KieHook
from tools.live_contract_check.assumptions import ASSUMPTIONS
from tools.live_contract_check.experiment import CoverExperiment
from tools.live_contract_check.http_log import Exchange
from tools.live_contract_check.observations import Step
from tools.live_contract_check.recording import write_recording
from tools.live_contract_check.unified_assumptions import UNIFIED_ASSUMPTIONS
from tools.live_contract_check.unified_experiment import PAID, UnifiedExperiment
from tools.live_contract_check.unified_seen import UnifiedStep, data_of
from tools.live_contract_check.verdicts import Assumption, Verdict, judged


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
            return _check_unified(hook, options) if options.api == "unified" else _check(hook, options)
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
    parser.add_argument(
        "--api",
        choices=["dedicated", "unified"],
        default="dedicated",
        help="ask the dedicated endpoints (by default), or jobs/createTask",
    )
    parser.add_argument(
        "--pay",
        action="append",
        default=[],
        choices=list(PAID),
        help="in the unified API variant: what to pay for too, each after a question of its own; repeatable",
    )
    parser.add_argument("-y", "--yes", action="store_true", help="agree to every question beforehand")
    return parser


def _problem(options: argparse.Namespace) -> str | None:
    """Return why the check cannot begin; None if it can."""
    if problems := id_errors([options.music_task_id]):
        return problems[0]
    if options.api == "dedicated" and not settings.text("bucket"):
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


def _check_unified(hook: KieHook, options: argparse.Namespace) -> int:
    with contextlib.closing(UnifiedExperiment(hook, options.music_task_id, say)) as experiment:
        code = 0
        try:
            experiment.questions()
            if _cover_agreed(experiment, options):
                experiment.cover()
            for name in options.pay:
                if agreed(_price_question(experiment, name), yes=options.yes):
                    experiment.pay(name)
        except KieError as error:
            complain(f"{error} {_unified_tasks(experiment)}")
            code = 1
        except KeyboardInterrupt:
            complain(f"Interrupted. {_unified_tasks(experiment)}")
            code = INTERRUPTED
        finally:
            _record(options.recording, experiment.transport.exchanges)
        if code == INTERRUPTED:
            return code
        broken = _print_verdicts(judged(UNIFIED_ASSUMPTIONS, experiment.seen))
        say(_unified_tasks(experiment))
        return 1 if broken else code


def _cover_agreed(experiment: UnifiedExperiment, options: argparse.Namespace) -> bool:
    """Return whether covers may be made: KIE's own text calls them free, or a person agrees."""
    if experiment.cover_is_free():
        say("KIE's price text says that a cover is free: two are made.")
        return True
    text = data_of(experiment.seen.one(UnifiedStep.PRICE)).get("pricingDesc") or "none"
    return agreed(f"Two covers are to be made. KIE's price text: {text}.", yes=options.yes)


def _price_question(experiment: UnifiedExperiment, name: str) -> str:
    paid, balance = PAID[name], experiment.balance(f"balance before {name}")
    known = "unknown" if balance is None else f"{balance:g}"
    return f"{paid.model} costs {paid.credits:g} credits by KIE's list of October 2026; the balance is {known}."


def _unified_tasks(experiment: UnifiedExperiment) -> str:
    """Return what was made: nothing of it is known to DAGs or archived."""
    made = ", ".join(f"{step}: {task_id}" for step, task_id in experiment.tasks.items())
    if not made:
        return "KIE has named no task. If a request was under way, look at kie.ai/logs."
    return f"Made: {made}. No DAG knows of these tasks, and KIE deletes their files after 14 days."


def _record(recording: Path, exchanges: Sequence[Exchange]) -> None:
    write_recording(recording, exchanges)
    say(f"What KIE answered is in {recording}, without names, ids and links.")


def _question(experiment: CoverExperiment, balance: float) -> str:
    price = quote(COVER, {}).high or 0.0
    cost = f"{price:g} credits" if price else "nothing, by KIE's list of October 2026"
    return (
        f"One cover will be made for {experiment.title or 'the song'} ({experiment.music_task_id}) on the account of "
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
        _record(recording, experiment.transport.exchanges)
    if code == INTERRUPTED:
        return code
    broken = _print_verdicts(judged(ASSUMPTIONS, experiment.seen))
    say(_what_is_paid(experiment))
    return 1 if broken else code


def _print_verdicts(verdicts: Sequence[tuple[Assumption[Any], Verdict, str]]) -> bool:
    """Print what became of every assumption; return whether one did not hold."""
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
