"""Pieces of the pages' scripts and forms, run by the JavaScript engine that Playwright brings, without a browser."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playwright._impl._driver import compute_driver_executable

from airflow_kie.archive.delivery.keys import ReleaseKeys
from airflow_kie.client.task_ids import KeyRefused
from airflow_kie.web.pages import responses

TEMPLATES = Path(responses.__file__).with_name("templates")
ANYTHING = """
const anything = new Proxy(function () {}, {
  get: (_, name) => (name === Symbol.toPrimitive ? () => "" : name === Symbol.iterator ? [][name].bind([]) : anything),
  apply: () => anything, set: () => true,
});
const listeners = {};
const listen = (name, listener) => (listeners[name] ||= []).push(listener);
const link = { focus: () => 0, parentElement: { querySelector: () => null }, closest: () => anything };
const document = {
  addEventListener: listen, getElementById: () => anything, documentElement: anything, querySelector: () => anything,
  querySelectorAll: (wanted) => (wanted === ".tile a" ? [link] : []),
  activeElement: { closest: () => ({ querySelector: () => link }) },
};
const window = { self: 1, top: 1 }, location = { hash: "", pathname: "", search: "" }, history = anything;
const setInterval = () => 0, setTimeout = () => 0, clearTimeout = () => 0;
let did = "";
"""
"""What a script finds around it: everything there is, and does nothing."""


def run(script: str) -> Any:
    """Run a script and return what it prints, as JSON."""
    node = str(compute_driver_executable()[0])
    done = subprocess.run([node, "-"], input=script, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def source(name: str) -> str:
    return (TEMPLATES / name).read_text()


@pytest.mark.parametrize(
    ("element", "key", "takes"),
    [
        *[("textarea", key, False) for key in ("/", "ArrowLeft", "ArrowDown")],
        *[("input", "/", False), ("input.pick", " ", False), ("input.pick", "ArrowDown", True)],
        *[("a", key, True) for key in ("/", " ", "ArrowDown")],
    ],
)
def test_the_librarys_keys_leave_alone_what_somebody_types_or_ticks(element: str, key: str, takes: bool) -> None:
    pressed = f"""
    const [element, key] = {json.dumps([element, key])};
    const is = (one) => (one === "input:not(.pick)" ? element === "input" : element.endsWith(one));
    const target = {{ matches: (wanted) => wanted.split(", ").some(is) }};
    const event = {{ key, target, preventDefault: () => (did = "taken") }};
    for (const listener of listeners.keydown) listener(event);
    console.log(JSON.stringify(did));
    """
    assert bool(run(f"{ANYTHING}\nconst kie = anything;\n{source('library.js')}\n{pressed}")) is takes


@pytest.mark.parametrize(
    "name",
    ["Night Drive (2026)", "Été", "夏", "हिन्दी गीत", "เพลงช้า", "A-17_b.c, d & 'e' + f!", "a/b", "", "x" * 101],
)
def test_the_form_takes_the_names_that_a_release_can_have(name: str) -> None:
    field = re.search(r'name="release" required maxlength="(\d+)" pattern="([^"]+)"', source("library.html"))
    assert field is not None
    # As browsers check it: with the flag v, over the whole text. What is not an expression there checks nothing.
    check = f"""
    const [pattern, name] = {json.dumps([html.unescape(field[2]), name])};
    console.log(new RegExp(`^(?:${{pattern}})$`, "v").test(name));
    """
    try:
        ReleaseKeys("songs", name)
        possible = True
    except KeyRefused:
        possible = False
    assert (run(check) and len(name) <= int(field[1])) is possible


def shown_again(main: str, what: str) -> Any:
    """Show a page again that has something new; return a value afterwards.

    :param main: what is in its main element, besides what is the same in each test.
    :param what: the value.
    """
    script = f"""
    const main = {{ dataset: {{}}, innerHTML: "old", querySelector: () => null, {main} }};
    const page = {{ querySelector: () => ({{ dataset: {{}}, innerHTML: "new", childNodes: [] }}) }};
    document.querySelector = () => main;
    document.adoptNode = (node) => node;
    class DOMParser {{ parseFromString() {{ return page; }} }}
    const fetch = async () => ({{ ok: true, status: 200, text: async () => "", headers: {{ get: () => "" }} }});
    {source("refresh.js")}
    Promise.all(listeners["kie:changed"].map((one) => one())).then(() => console.log(JSON.stringify({what})));
    """
    return run(f"{ANYTHING}\n{script}")


@pytest.mark.parametrize("plays", ["audio", "video"])
def test_what_plays_goes_on_while_a_page_is_shown_again(plays: str) -> None:
    main = f"""
      replaceChildren: () => (did = "replaced"),
      querySelectorAll: (wanted) => (wanted.includes({json.dumps(plays)}) ? [{{ paused: false }}] : []),
    """
    assert shown_again(main, "did") == ""


@pytest.mark.parametrize(("before", "after"), [("2", "2"), ("1", "3")])
def test_a_take_that_somebody_has_selected_stays_while_a_page_is_shown_again(before: str, after: str) -> None:
    main = f"""
      takes: (usual) => [1, 2, 3].map((one) => ({{ value: String(one), defaultSelected: String(one) === usual }})),
      select(value, usual) {{ this.shown = {{ name: "take", value, options: this.takes(usual) }}; }},
      replaceChildren() {{ this.select("3", "3"); }},
      querySelectorAll(wanted) {{
        if (!this.shown) this.select({json.dumps(before)}, "1");
        return wanted === "select" ? [this.shown] : [];
      }},
    """
    assert shown_again(main, "main.shown.value") == after


def test_a_double_click_does_not_confirm_what_is_asked_twice() -> None:
    script = f"""
    const sent = [];
    const fetch = async (address) => (sent.push(address), {{ ok: true, headers: new Map(), text: async () => "" }});
    {source("changes.js")}
    const dataset = {{ confirm: "Yes, pay again", change: "/status/release" }};
    const button = {{ dataset, childNodes: [], replaceChildren: () => 0 }};
    const click = (detail) => {{
      let goes = true;
      const stop = () => (goes = false);
      const target = {{ closest: () => button }};
      const event = {{ detail, target, preventDefault: stop, stopImmediatePropagation: stop }};
      for (const listener of listeners.click) if (goes) listener(event);
      return goes;
    }};
    const went = [click(1), click(2), sent.length, click(1), sent.length];
    console.log(JSON.stringify(went));
    """
    assert run(f"{ANYTHING}\n{script}") == [True, False, 0, True, 1]


@pytest.mark.parametrize(
    ("zone", "shown"),
    [("Pacific/Kiritimati", "30 Nov 2026"), ("America/New_York", "29 Nov 2026"), ("no zone", "2026")],
)
def test_a_day_is_that_of_the_readers_zone(zone: str, shown: str) -> None:
    script = f"""
    const localStorage = {{ getItem: () => JSON.stringify({json.dumps(zone)}) }}, NodeFilter = {{}};
    class MutationObserver {{ observe() {{}} }}
    const day = {{ dateTime: "2026-11-29T13:20:38+00:00", removeAttribute: (name) => (did = name) }};
    document.body = {{ querySelectorAll: (wanted) => (wanted === "time[data-day]" ? [day] : []) }};
    document.createTreeWalker = () => ({{ nextNode: () => null }});
    {source("times.js")}
    console.log(JSON.stringify([day.textContent, did]));
    """
    text, removed = run(f"{ANYTHING}\n{script}")
    assert text.endswith(shown) and removed == "data-day"
