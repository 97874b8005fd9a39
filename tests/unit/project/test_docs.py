"""README and docs: what the code decides is what they say, and what they point to exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tools import parameters, tables

ROOT = Path(__file__).resolve().parents[3]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_tables_of_settings_connection_and_errors_are_those_of_the_code() -> None:
    for page in tables.PAGES:
        text = page.read_text(encoding="utf-8")
        assert text == tables.with_tables(text), f"{page.name} is out of date: .venv/bin/python -m tools.tables"


def test_every_table_is_in_some_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in tables.PAGES)
    assert set(re.findall(r"<!-- table: ([\w-]+) -->", text)) == set(tables.TABLES)


@pytest.mark.parametrize("path", parameters.DOCUMENTED)
def test_a_parameter_is_explained_in_the_table_of_its_task_or_once_for_all_tasks(path: str) -> None:
    page = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"<!-- table: ([\w-]+) -->\n(.*?)<!-- end -->", page, re.S))
    _, folder, *_, name = path.split(".")
    own = re.findall(r"^\| (`\w+`(?: †)?) \| ", blocks[name], re.M)
    linked = re.findall(r"`\w+`(?: †)?", blocks[name].partition("](#parameters-of-all-tasks): ")[2])
    shared = re.findall(r"^\| (`\w+`(?: †)?) \| ([\w, ]+) \| ", blocks["shared-parameters"], re.M)
    assert sorted([*own, *linked]) == sorted(row[0] for row in parameters.parameters(parameters.imported(path)))
    for each in linked:
        assert [name for name, folders in shared if name == each and folder in folders.split(", ")] == [each]


def test_no_parameter_of_a_task_is_explained_three_times() -> None:
    page = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `\w+`.*\|$", page, re.M)
    assert {row for row in rows if rows.count(row) >= 3} == set()


def test_every_error_of_the_package_has_its_row_in_the_on_call_page() -> None:
    page = (ROOT / "docs" / "on-call.md").read_text(encoding="utf-8")
    assert [error.reason for error in tables.every_error() if f"| `{error.reason}` |" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_into_the_project_leads_to_a_file(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)|(?:src|href)=\"([^\"#]+)\"", text)
    inside = [target for pair in targets for target in pair if target and "://" not in target]
    assert [target for target in inside if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_heading_or_a_test_that_it_names(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s:]*)(?:#([\w-]+))?(?: \"([^\"]+)\")?\)", page.read_text(encoding="utf-8"))
    lost = []
    for target, heading, test in links:
        file = page.parent / target if target else page
        if (heading and heading not in headings(file)) or (test and f"def {test}(" not in file.read_text("utf-8")):
            lost.append((target, heading, test))
    assert lost == []


def test_every_line_about_what_is_paid_once_links_to_its_tests() -> None:
    page = (ROOT / "docs" / "paying-once.md").read_text(encoding="utf-8")
    table = page.partition("| what happens |")[2].partition("\n\n")[0].splitlines()[2:]
    assert len(table) >= 20
    assert [line for line in table if "](../tests/" not in line] == []


def test_a_dag_that_a_page_shows_is_an_example_of_the_package_word_for_word() -> None:
    shown = [
        (name, block)
        for page in PAGES
        for name, block in re.findall(r"<!-- example: (\w+) -->\n+(.*?)\n+<!-- end -->", page.read_text("utf-8"), re.S)
    ]
    assert {name for name, _ in shown} >= {"example_chat", "example_clip", "example_table"}
    for name, block in shown:
        text = (ROOT / "plugins" / "airflow_kie" / "example_dags" / f"{name}.py").read_text(encoding="utf-8")
        text = re.sub(r'^ +""".*"""\n', "", text, flags=re.M)
        assert textwrap.dedent(block) in text or block in text, name
        assert block.startswith("    @") or "from airflow.sdk import DAG" in block  # what is pasted runs


def headings(page: Path) -> set[str]:
    """Return the names by which a page's headings are linked to."""
    lines = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S).splitlines()
    titles = [line.lstrip("#").strip().lower() for line in lines if line.startswith("#")]
    return {re.sub(r"[^\w -]", "", title).replace(" ", "-") for title in titles}


def test_every_command_of_run_and_part_of_its_tests_that_a_page_names_exists() -> None:
    from local_stack.__main__ import COMMANDS
    from local_stack.checks import PARTS

    text = "".join(page.read_text(encoding="utf-8") for page in [*PAGES, *(ROOT / "include").rglob("*.md")])
    assert set(re.findall(r"\./run ([a-z]+)", text)) == set(COMMANDS)
    assert set(re.findall(r"\./run test ([a-z]+)", text)) <= set(PARTS)


def test_the_help_keeps_names_as_they_are_written() -> None:
    command = [sys.executable, "-m", "local_stack", "up", "--help"]
    shown = subprocess.run(command, cwd=ROOT / "include", capture_output=True, text=True, check=True).stdout
    assert "Start the stack with Airflow's UI" in shown


def test_the_site_is_built_without_an_airflow_in_the_persons_home(tmp_path: Path) -> None:
    settings = str(ROOT / "docs" / "site" / "conf.py")
    building = f"import runpy; runpy.run_path({settings!r}); import airflow.sdk, airflow.settings"
    environment = {name: value for name, value in os.environ.items() if name != "AIRFLOW_HOME"}
    environment["HOME"] = str(tmp_path)
    ran = subprocess.run([sys.executable, "-c", building], env=environment, capture_output=True, text=True, check=True)
    assert list(tmp_path.iterdir()) == []
    assert ran.stdout + ran.stderr == ""


def test_every_dag_of_the_project_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    dag_ids = {
        found for file in (ROOT / "dags").glob("*.py") for found in re.findall(r'dag_id="(\w+)"', file.read_text())
    }
    assert {dag_id for dag_id in dag_ids if f"`{dag_id}`" not in readme} == set()


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-distributed.txt", "requirements-dev.txt"])
def test_a_lock_is_compiled_with_the_command_that_contributing_names(lock: str) -> None:
    made_by = (ROOT / lock).read_text(encoding="utf-8").splitlines()[1].removeprefix("#").strip()
    assert f".venv/bin/{made_by}\n" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
