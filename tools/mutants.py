"""Weaken the rules about money one line at a time, and list what no test notices.

    .venv/bin/python -m tools.mutants [--minutes 20] [--only lifecycle/ledger.py] [--lines 100-140] [--tables]

Each mutant is one change: another comparison, a condition that always or never holds, a part of a condition, an
argument, a step or a line of a table left out, another number, an error after which a new task is paid for. It is run
in a copy of the package, with the quick tests of its module first. A survivor is a missing test, or it changes nothing
that anybody can see: those are in ``tools/mutants_equivalent.txt``.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import math
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tools.mutating import Mutant, changed, mutants_of

PROJECT = Path(__file__).resolve().parent.parent
PACKAGE = PROJECT / "plugins" / "airflow_kie"
TESTS = PROJECT / "tests" / "unit"
_WORLD = ("lifecycle/simulation", "lifecycle/rules_properties", "lifecycle/doubtful_reads")
_RULES = ("lifecycle/rules_creates", "lifecycle/rules_failures", "lifecycle/rules_reads")
_ANSWERS = ("client/envelope", "client/creates", "client/details", "client/states", "client/forms")
MODULES: Mapping[str, tuple[str, ...]] = {
    "lifecycle/rules.py": (*_RULES, "lifecycle/driver", *_WORLD),
    "lifecycle/ledger.py": ("lifecycle/ledger", "lifecycle/driver", *_WORLD),
    "lifecycle/claims.py": ("lifecycle/ledger", "lifecycle/driver", *_WORLD),
    "lifecycle/identity.py": ("lifecycle/identity", *_WORLD),
    "lifecycle/deadline.py": ("lifecycle/driver", *_WORLD),
    "lifecycle/driver.py": ("lifecycle/driver", "lifecycle/driver_records", *_RULES, *_WORLD),
    "lifecycle/kept_answers.py": ("lifecycle/ledger", *_WORLD),
    "lifecycle/record.py": (*_RULES, "lifecycle/driver_records", "lifecycle/one_id_one_record", *_WORLD),
    "client/answers/envelope.py": _ANSWERS,
    "client/answers/decode.py": _ANSWERS,
    "client/answers/refusals.py": _ANSWERS,
    "client/errors/account.py": ("client/errors",),
    "client/errors/files.py": ("client/errors",),
    "client/errors/service.py": ("client/errors",),
    "client/errors/task.py": ("client/errors",),
    "archive/s3/errors.py": ("archive/s3_errors",),
    "durable/retry_policy.py": ("durable/retry_policy",),
    "durable/outage_backoff.py": ("durable/outage_backoff",),
}
"""What is weakened, and which tests are asked, in this order."""
TABLES_ALONE = frozenset({"archive/s3/errors.py", "durable/retry_policy.py"})
"""Of these the functions are not weakened: they decide nothing about money."""
TIMES = 5
"""How many times more processor time a mutant may take than the module without a change: one that takes more goes on
for ever, and is caught. One that only waits is ended by pytest's own timeout."""
SECONDS = 300
"""Of processor time that a module's tests may take without a change."""
QUICK_SECONDS = 30
"""The same without the simulated world."""
OPTIONS = (
    *("-x", "-q", "--assert=plain", "--hypothesis-seed=0", "-p", "no:cacheprovider"),
    *("-p", "no:schemathesis"),  # its import takes longer than most of the tests
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
"""Of pytest: the same mutant is tried in the same way each time."""
EQUIVALENT = Path(__file__).with_name("mutants_equivalent.txt")


def _import_what_stays(path: Path) -> None:
    """Import once for all forks what is heavy and not changed.

    :param path: of the copy of the package.
    """
    import airflow.sdk  # noqa: F401

    for name in [name for name in sys.modules if name.partition(".")[0] == "airflow_kie"]:
        del sys.modules[name]  # Airflow has asked the package what it provides
    sys.path.insert(0, str(path))
    heavy = "botocore.exceptions hypothesis.stateful sqlalchemy jsonschema starlette.testclient httpx pydantic jmespath"
    for name in (*heavy.split(), "airflow_kie"):
        importlib.import_module(name)
    changed = {f"airflow_kie.{module.removesuffix('.py').replace('/', '.')}" for module in MODULES}
    if early := sorted(changed & sys.modules.keys()):
        raise SystemExit(f"{', '.join(early)} are imported already: their mutants would never run.")


def notices(mutant: Mutant, package: Path, tests: Sequence[str], seconds: int) -> bool:
    """Return whether a test fails on a mutant. It runs in a fork: what is heavy is imported once.

    :param package: a copy of the package that may be changed.
    :param tests: which are asked.
    :param seconds: of processor time which its tests may take.
    """
    place = package / mutant.module
    whole = place.read_text()
    place.write_text(changed(whole, mutant.number))
    try:
        return _fails(tests, seconds)[0]
    finally:
        place.write_text(whole)


def _fails(names: Sequence[str], seconds: int) -> tuple[bool, float]:
    """Return whether tests fail, or take too long, and the processor time that they took in seconds."""
    child = os.fork()
    if child == 0:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        _run_tests(names)
    _, status, used = os.wait4(child, 0)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # a server that a test has left
    return status != 0, used.ru_utime + used.ru_stime


def _run_tests(names: Sequence[str]) -> None:
    """Run the tests in this process, and end it."""
    import pytest

    code = 1
    try:
        sys.dont_write_bytecode = True
        if "KIE_MUTANTS_SHOW" not in os.environ:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
        files = [str(TESTS / folder / f"test_{name}.py") for folder, _, name in (one.rpartition("/") for one in names)]
        code = pytest.main([*OPTIONS, *files])
    except BaseException:  # noqa: BLE001 - nobody else would show it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(int(code))


def chosen_of(options: argparse.Namespace) -> list[Mutant]:
    """Return the mutants that are to be tried, in an order that no other change of the code turns around."""
    first, _, last = options.lines.partition("-")
    chosen = [
        mutant
        for module in MODULES
        if options.only in ("", module)
        for mutant in mutants_of(module, (PACKAGE / module).read_text())
        if int(first or 0) <= mutant.line <= int(last or 1e9)
        if mutant.in_table or not (options.tables or module in TABLES_ALONE)
        if mutant.name not in known()
    ]
    return sorted(chosen, key=lambda mutant: zlib.crc32(mutant.name.encode()))[: options.some or None]


@functools.cache
def known() -> frozenset[str]:
    """Return the names of changes that no test can notice."""
    lines = EQUIVALENT.read_text().splitlines()
    return frozenset(line.strip() for line in lines if line and not line.startswith(("#", " ")))


def main(arguments: list[str] | None = None) -> int:
    """Try the mutants; the exit code says whether one that is not known has survived."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after this time and say how many are left")
    parser.add_argument("--only", default="", choices=["", *MODULES], help="one module, such as lifecycle/ledger.py")
    parser.add_argument("--lines", default="", help="lines of it, such as 100-140")
    parser.add_argument("--tables", action="store_true", help="lines of tables and classes alone, none of functions")
    parser.add_argument("--some", type=int, default=0, help="so many, the same ones each time; 0: all")
    parser.add_argument("--quick", action="store_true", help="without the simulated world, which may notice more")
    parser.add_argument("--trust", action="store_true", help="do not try whether the tests pass without a change")
    options = parser.parse_args(arguments)
    os.chdir(PROJECT)
    os.environ |= {"KIE_SIMULATED_SCHEDULES": "60", "PYTHONDONTWRITEBYTECODE": "1"}
    chosen = chosen_of(options)
    began, tried, survivors = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "airflow_kie"
        shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
        _import_what_stays(Path(folder))
        asked = {name: tuple(one for one in MODULES[name] if not (options.quick and one in _WORLD)) for name in MODULES}
        needed = {asked[mutant.module] for mutant in chosen}
        most = QUICK_SECONDS if options.quick else SECONDS
        seconds = {tests: most if options.trust else _seconds(tests) for tests in needed}
        for mutant in chosen:
            if time.monotonic() > began + options.minutes * 60:
                break
            tried += 1
            print(f"\r{tried} of {len(chosen)}", end="", file=sys.stderr, flush=True)
            tests = asked[mutant.module]
            if not notices(mutant, package, tests, seconds[tests]):
                survivors += 1
                print(f"survives: line {mutant.line} of {mutant.name}", flush=True)
    took = time.monotonic() - began
    print(
        f"{len(chosen)} mutants, {tried} tried, {tried - survivors} caught, {survivors} survive; {len(known())} known; "
        f"{took:.0f} s"
    )
    return 1 if survivors else 0


def _seconds(tests: Sequence[str]) -> int:
    """Return how much processor time some tests may take on a mutant, by what they take without a change."""
    fails, used = _fails(tests, SECONDS)
    if fails:
        raise SystemExit(f"{', '.join(tests)} fail without any change: KIE_MUTANTS_SHOW=1 shows why.")
    return math.ceil(TIMES * used)


if __name__ == "__main__":
    raise SystemExit(main())
