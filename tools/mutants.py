"""Weaken the rules about money one line at a time, and list what no test notices.

    .venv/bin/python -m tools.mutants [--minutes 20] [--only ledger.py] [--lines 100-140]

Each mutant is one change: another comparison, a condition that always or never holds, a part of a condition or an
argument left out, another number. It is run in a copy of the package, with the quick tests of the lifecycle first. A
survivor is a missing test, or it changes nothing that anybody can see: those are in ``tools/mutants_equivalent.txt``.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
PACKAGE = PROJECT / "plugins" / "airflow_kie"
TESTS = PROJECT / "tests" / "unit" / "lifecycle"
MODULES = {
    "rules.py": ("rules_creates", "rules_failures", "rules_reads", "driver"),
    "ledger.py": ("ledger", "driver"),
    "claims.py": ("ledger", "driver"),
    "identity.py": ("identity",),
    "deadline.py": ("driver", "doubtful_reads"),
}
"""What is weakened, and which tests are asked first."""
SLOW = ("simulation", "rules_properties", "doubtful_reads")
TIMES = 5
"""How many times longer a mutant may take than the package without a change: one that takes longer waits for ever, and
is caught."""
SECONDS = 600
"""Of the package without a change."""
EQUIVALENT = Path(__file__).with_name("mutants_equivalent.txt")
_OTHER: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}


@dataclass(frozen=True)
class Mutant:
    """One change of a module.

    :param module: its file's name.
    :param line: where.
    :param was: the code there.
    :param now: what it is changed to.
    :param source: the whole module with the change.
    """

    module: str
    line: int
    was: str
    now: str
    source: str

    @property
    def name(self) -> str:
        """What is printed, and what a line of the list of equivalent ones begins with; lines move, code stays."""
        return f"{self.module}: {self.was}  →  {self.now}"


def mutants_of(module: str, source: str) -> Iterator[Mutant]:
    """Yield every change of a module."""
    tree = ast.parse(source)
    for parent, field, index, node in _places(tree):
        for other in _weaker(node):
            _put(parent, field, index, other)
            ast.fix_missing_locations(tree)
            was, now = (ast.unparse(one).partition("\n")[0] for one in (node, other))
            yield Mutant(module, getattr(node, "lineno", 0), was, now, ast.unparse(tree))
            _put(parent, field, index, node)


def _places(parent: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Yield each node that may be changed, with its place; annotations, decorators and texts for people stay."""
    for field, value in ast.iter_fields(parent):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for index, node in enumerate(value) if isinstance(value, list) else ((None, value),):
            if isinstance(node, ast.AST) and not _for_people(node):
                yield parent, field, index, node
                yield from _places(node)


def _for_people(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr | ast.AnnAssign) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _weaker(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may stand in a node's place."""
    yield from (_of_condition(node) if isinstance(node, ast.expr) else _of_statement(node))
    match node:
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.BinOp(left, ast.Add() | ast.Sub() as sign, right):
            yield ast.BinOp(left, ast.Sub() if isinstance(sign, ast.Add) else ast.Add(), right)
        case ast.Call(ast.Name("min" | "max" as name), arguments, keywords):
            yield ast.Call(ast.Name("max" if name == "min" else "min"), arguments, keywords)
        case ast.Call(called, arguments, keywords) if not _builds_error(called):
            yield from (ast.Call(called, arguments, rest) for rest in _rests(keywords))
        case ast.Set(elements) if len(elements) > 1:
            yield from (ast.Set(rest) for rest in _rests(elements))


def _of_condition(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(left, [operator], right) if type(operator) in _OTHER:
            yield ast.Compare(left, [_OTHER[type(operator)]()], right)
        case ast.BoolOp(operator, values):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
            for rest in _rests(values):
                yield rest[0] if len(rest) == 1 else ast.BoolOp(operator, rest)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.IfExp(_, body, orelse):
            yield from (body, orelse)


def _of_statement(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.If(_, body, []):
            yield from (ast.If(ast.Constant(held), body, []) for held in (True, False))
        case ast.match_case(pattern, ast.expr(), body):
            yield ast.match_case(pattern, None, body)
        case ast.Expr(ast.Call()):
            yield ast.Pass()


def _rests(values: list[Any]) -> Iterator[list[Any]]:
    """Yield a list without each of its members."""
    return ([*values[:at], *values[at + 1 :]] for at in range(len(values)))


def _builds_error(called: ast.expr) -> bool:
    return isinstance(called, ast.Attribute) and called.attr.startswith("Kie")


def _import_what_stays(path: Path) -> None:
    """Import once for all forks what is heavy and not changed: it knows nothing of the lifecycle."""
    import airflow.sdk  # noqa: F401

    for name in [name for name in sys.modules if name.partition(".")[0] == "airflow_kie"]:
        del sys.modules[name]  # Airflow has asked the package what it provides
    sys.path.insert(0, str(path))
    for name in ("botocore.exceptions", "hypothesis.stateful", "sqlalchemy", "jsonschema", "starlette.testclient"):
        importlib.import_module(name)
    for name in ("api", "http.transport", "catalogue.prices", "rate_limiter.limiter", "operations.registry"):
        importlib.import_module(f"airflow_kie.client.{name}")
    if "airflow_kie.lifecycle" in sys.modules:
        raise SystemExit("The client imports the lifecycle: its mutants would never run.")


def notices(mutant: Mutant, package: Path, seconds: float) -> bool:
    """Return whether a test fails on a mutant. It runs in a fork: what is heavy is imported once.

    :param package: a copy of the package that may be changed.
    :param seconds: which its tests may take.
    """
    place = package / "lifecycle" / mutant.module
    whole = place.read_text()
    place.write_text(mutant.source)
    try:
        return _fails((*MODULES[mutant.module], *SLOW), seconds)
    finally:
        place.write_text(whole)


def _fails(names: Sequence[str], seconds: float) -> bool:
    child = os.fork()
    if child == 0:
        os.setsid()
        _run_tests(names)
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status) != 0
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


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
        options = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        code = pytest.main([*options, *(str(TESTS / f"test_{name}.py") for name in dict.fromkeys(names))])
    except BaseException:  # noqa: BLE001 - nobody else would show it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(int(code))


def main(arguments: list[str] | None = None) -> int:
    """Try the mutants; the exit code says whether one that is not known has survived."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20.0, help="stop after this time and say how many are left")
    parser.add_argument("--only", default="", choices=["", *MODULES], help="one module, such as ledger.py")
    parser.add_argument("--lines", default="", help="lines of it, such as 100-140")
    options = parser.parse_args(arguments)
    os.chdir(PROJECT)
    os.environ |= {"KIE_SIMULATED_SCHEDULES": "60", "PYTHONDONTWRITEBYTECODE": "1"}
    first, _, last = options.lines.partition("-")
    known = {line.strip() for line in EQUIVALENT.read_text().splitlines() if line and not line.startswith(("#", " "))}
    chosen = [
        mutant
        for module in MODULES
        if options.only in ("", module)
        for mutant in mutants_of(module, (PACKAGE / "lifecycle" / module).read_text())
        if int(first or 0) <= mutant.line <= int(last or 1e9) and mutant.name not in known
    ]
    began, tried, survivors = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "airflow_kie"
        shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
        _import_what_stays(Path(folder))
        if _fails([name for names in (*MODULES.values(), SLOW) for name in names], SECONDS):
            raise SystemExit("The tests fail without any change (KIE_MUTANTS_SHOW=1 shows why), or take ten minutes.")
        seconds = TIMES * (time.monotonic() - began)
        for mutant in random.sample(chosen, len(chosen)):
            if time.monotonic() > began + options.minutes * 60:
                break
            tried += 1
            print(f"\r{tried} of {len(chosen)}", end="", file=sys.stderr, flush=True)
            if not notices(mutant, package, seconds):
                survivors += 1
                print(f"survives: line {mutant.line} of {mutant.name}", flush=True)
    print(f"{len(chosen)} mutants, {tried} tried, {tried - survivors} caught, {survivors} survive; {len(known)} known")
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
