"""The tool that weakens the rules: what it changes, and that a test notices it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap

import pytest

from tools.mutants import MODULES, PACKAGE, PROJECT, TESTS, known
from tools.mutating import changed, mutants_of

SOME = 40 if int(os.environ.get("KIE_SIMULATED_SCHEDULES", "0")) > 2000 else 5
"""Mutants that are tried here, the same ones each time; more with `./run test --full`, all by the tool itself."""


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("a == b", {"a == b → a != b"}),
        ("a < 3", {"a < 3 → a <= 3", "3 → 4"}),
        ("a and b", {"a and b → a or b", "a and b → a", "a and b → b"}),
        ("not a", {"not a → a"}),
        ("b if a else c", {"b if a else c → b", "b if a else c → c"}),
        ("min(a, b)", {"min(a, b) → max(a, b)", "min(a, b) → pass"}),
        ("x = sent(a, by=b)", {"x = sent(a, by=b) → sent(a)"}),
        ("if a: go()", {"if a: → if True:", "if a: → if False:", "go() → pass"}),
        ("TABLE: Codes = {1: a, 2: b}", {"1: a → left out", "2: b → left out", "1 → 2", "2 → 3"}),
        (
            "TABLE = {**dict.fromkeys((a, b), c)}",
            {"**: dict.fromkeys((a, b), c) → left out"}
            | {
                "dict.fromkeys((a, b), c) → dict.fromkeys((b,), c)",
                "dict.fromkeys((a, b), c) → dict.fromkeys((a,), c)",
            },
        ),
        ("WORDS = frozenset({a, b})", {"{a, b} → {b}", "{a, b} → {a}"}),
        ("LIMIT = 30.0", {"LIMIT = 30.0 → 300.0"}),
        ("x = sent(by=1)", {"x = sent(by=1) → sent()", "by=1 → 2"}),
        ("CODES = 'SlowDown 503'", {"CODES = 'SlowDown 503' → 'SlowDown'", "CODES = 'SlowDown 503' → '503'"}),
        ("raise Refused", {"raise Refused → pass"}),
        ("def steps():\n    yield keep", {"yield keep → pass"}),
        (
            "match a:\n    case b if c: d = e",
            {"case b if c: → left out", "case b if c: → case b:"},
        ),
    ],
)
def test_each_line_is_weakened_in_every_way(code: str, names: set[str]) -> None:
    found = list(mutants_of("rules.py", code))
    assert {" ".join(f"{mutant.was} → {mutant.now}".split()) for mutant in found} == names
    assert len({changed(code, mutant.number) for mutant in found} - {ast.unparse(ast.parse(code))}) == len(found)


def test_an_error_is_weakened_to_one_after_which_a_new_task_is_paid_for() -> None:
    code = "class KieSlow(KieError, reason='slow', scope=Scope.ACCOUNT, remedy=Remedy.RETRY): ..."
    assert {mutant.now for mutant in mutants_of("errors.py", code)} == {
        "class KieSlow(KieError, reason='slow', remedy=Remedy.RETRY):",
        "class KieSlow(KieError, reason='slow', scope=Scope.ACCOUNT):",
        "class KieSlow(KieError, reason='slow', scope=Scope.ACCOUNT, remedy=Remedy.NEW_TASK):",
    }


def test_annotations_and_texts_for_people_stay_and_a_function_is_no_table() -> None:
    code = textwrap.dedent('''
        """Twice 2."""
        if TYPE_CHECKING:
            import typed
        LIMIT: Literal[1] = 5
        def why(a: Literal[2] = 3) -> Literal[4]:
            """Return 1."""
            return f"{a < 2}"
    ''')
    assert {(mutant.was, mutant.in_table) for mutant in mutants_of("rules.py", code)} == {
        ("LIMIT = 5", True),
        ("3", False),
    }


def test_what_is_weakened_and_the_tests_that_are_asked_are_there() -> None:
    for module, tests in MODULES.items():
        assert (PACKAGE / module).exists()
        assert [test for test in tests if not (TESTS / f"{test.replace('/', '/test_')}.py").exists()] == []


def test_every_change_that_no_test_can_notice_is_still_one_that_is_made() -> None:
    made = {mutant.name for module in MODULES for mutant in mutants_of(module, (PACKAGE / module).read_text())}
    assert known() - made == set()


@pytest.mark.timeout(1200)
def test_lines_of_tables_that_are_weakened_are_noticed_by_the_tests_of_their_modules() -> None:
    command = [sys.executable, "-m", "tools.mutants", "--tables", "--quick", "--trust", "--some", str(SOME)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert f"{SOME} tried, {SOME} caught, 0 survive" in done.stdout
