"""Pieces of the pages' scripts and forms, run by the JavaScript engine that Playwright brings, without a browser."""

from __future__ import annotations

import html
import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

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
  activeElement: { closest: () => ({ querySelector: () => link }) }, dispatchEvent: () => true,
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


@pytest.mark.parametrize(
    ("answers", "same"),
    [
        (["504", "201"], True),
        (["500", "409"], True),
        (["away", "201"], True),
        (["400", "201"], False),
        (["201"] * 2, False),
    ],
)
def test_a_run_that_may_have_been_started_is_asked_for_again_under_its_own_id(answers: list[str], same: bool) -> None:
    script = f"""
    const answers = {json.dumps(answers)}, runs = [];
    const fetch = async (address, {{ body }}) => {{
      runs.push(JSON.parse(body).dag_run_id);
      const status = Number(answers.shift());
      if (!status) throw new TypeError("network");
      return {{ status, ok: status < 400, json: async () => ({{}}) }};
    }};
    {source("changes.js")}
    const ask = () => kie.trigger("/airflow", "music_generate", {{ prompt: "the sea" }});
    ask().then(async (first) => console.log(JSON.stringify([first.problem || "", (await ask()).run, ...runs])));
    """
    problem, run_id, *asked = run(f"{ANYTHING}\n{script}")
    assert run_id == asked[1] and (asked[0] == asked[1]) is same
    assert ("nothing is made twice" in problem) is same


def test_a_run_that_may_have_been_started_keeps_its_id_while_the_page_is_loaded_again() -> None:
    def page(kept: dict[str, str], status: int) -> tuple[dict[str, str], str]:
        script = f"""
        const kept = {json.dumps(kept)}, sessionStorage = {{
          getItem: (name) => kept[name] || null, setItem: (name, text) => (kept[name] = text),
        }};
        const fetch = async (address, {{ body }}) => {{
          did = JSON.parse(body).dag_run_id;
          return {{ status: {status}, ok: {status} < 400, json: async () => ({{}}) }};
        }};
        {source("changes.js")}
        const ask = kie.trigger("/airflow", "music_generate", {{ prompt: "the sea" }});
        ask.then(() => console.log(JSON.stringify([kept, did])));
        """
        kept, run_id = run(f"{ANYTHING}\n{script}")
        return kept, run_id

    kept, first = page({}, 504)
    kept, second = page(kept, 409)
    assert first == second
    assert page(kept, 200)[1] != first


@pytest.mark.parametrize(("status", "waits"), [(404, 2500), (401, 0)])
def test_what_has_become_of_a_song_can_be_read_before_its_page_is_loaded_again(status: int, waits: int) -> None:
    script = f"""
    {ANYTHING.replace("setTimeout = () => 0", "setTimeout = (todo, wait) => wait && (did = wait)")}
    let loaded = 0;
    location.reload = () => (loaded += 1);
    const fetch = async () => ({{ ok: false, status: {status}, headers: {{ get: () => "" }} }});
    {source("refresh.js")}
    listeners["kie:changed"][0]().then(() => console.log(JSON.stringify([did || 0, loaded])));
    """
    assert run(script) == [waits, 0 if waits else 1]


@pytest.mark.parametrize("was_open", [True, False])
def test_what_somebody_has_opened_stays_open_while_a_page_is_shown_again(was_open: bool) -> None:
    main = f"""
      before: {{ id: "fine", dataset: {{}}, open: {json.dumps(was_open)} }},
      after: {{ id: "fine", dataset: {{}}, open: {json.dumps(not was_open)} }},
      replaceChildren() {{ this.before = this.after; }},
      querySelectorAll(wanted) {{ return wanted === "details" ? [this.before] : []; }},
    """
    assert shown_again(main, "main.after.open") is was_open


@pytest.mark.parametrize(("buttons", "focused"), [(2, "second"), (1, "")])
def test_the_keyboard_stays_at_its_button_while_a_page_is_shown_again(buttons: int, focused: str) -> None:
    main = f"""
      make: (count) => ["first", "second"].slice(0, count).map((name) => ({{ focus: () => (did = name) }})),
      replaceChildren() {{ this.shown = this.make({buttons}); }},
      querySelectorAll(wanted) {{
        if (!wanted.startsWith("a, button")) return [];
        if (!this.shown) document.activeElement = (this.shown = this.make(2))[1];
        return this.shown;
      }},
    """
    assert shown_again(main, "did") == focused


LIBRARY = """
const said = [], kie = { ...anything, say: (text) => said.push(text) };
const field = { value: "" };
const form = {
  elements: { since: field, until: field, zone: field, q: field }, getAttribute: () => "/library",
  addEventListener: listen, querySelector: () => anything,
};
document.querySelector = (wanted) => (wanted === "form.filters" ? form : anything);
const audio = {
  paused: true, getAttribute: () => null, removeAttribute: () => (did = "forgotten"), addEventListener: listen,
  pause: () => 0,
};
const player = { querySelector: (wanted) => (wanted === "audio" ? audio : { textContent: "Northbound" }) };
const page = { innerHTML: "old", querySelectorAll: () => [], toggleAttribute: () => 0, hasAttribute: () => false };
document.getElementById = (wanted) => ({ player, results: page })[wanted] || anything;
class FormData { *[Symbol.iterator]() {} }
"""
"""What the library's script finds around it."""


@pytest.mark.parametrize(("status", "sentences"), [(503, 1), (0, 1), (200, 0)])
def test_a_search_that_gets_no_answer_is_reported_and_what_is_asked_by_itself_is_not(
    status: int, sentences: int
) -> None:
    script = f"""
    {LIBRARY}
    class DOMParser {{ parseFromString() {{ return {{ getElementById: () => page }}; }} }}
    const fetch = async () => {{
      if (!{status}) throw new TypeError("network");
      return {{ ok: {status} < 400, status: {status}, text: async () => "" }};
    }};
    {source("library.js")}
    const wait = () => new Promise((done) => setImmediate(done));
    (async () => {{
      listeners["kie:changed"][0]();
      await wait();
      const before = said.length;
      listeners.submit[0]({{ preventDefault: () => 0 }});
      await wait();
      console.log(JSON.stringify([before, said.length - before]));
    }})();
    """
    assert run(f"{ANYTHING}\n{script}") == [0, sentences]


def test_a_file_that_cannot_be_played_is_reported_and_asked_for_again_by_the_next_click() -> None:
    script = f"""
    {LIBRARY}
    {source("library.js")}
    for (const one of listeners.error) one({{ target: {{ matches: () => false }} }});
    console.log(JSON.stringify([said, did]));
    """
    said, did = run(f"{ANYTHING}\n{script}")
    assert said == ["Northbound could not be played. Try again, or open its page."] and did == "forgotten"


@pytest.mark.parametrize("gone", [True, False])
def test_a_text_that_could_not_be_read_is_read_again_when_it_is_opened_again(gone: bool) -> None:
    script = f"""
    let asked = 0;
    const fetch = async () => ({{ ok: ++asked > {int(gone)}, text: async () => "la la" }});
    {source("texts.js")}
    const place = {{ textContent: "", dataset: {{}} }};
    const details = {{ open: true, dataset: {{ text: "/lyrics" }}, querySelector: () => place, matches: () => true }};
    const wait = () => new Promise((done) => setImmediate(done));
    const open = async () => (listeners.toggle[0]({{ target: details }}), await wait());
    open().then(open).then(() => console.log(JSON.stringify([place.textContent, asked])));
    """
    assert run(f"{ANYTHING}\n{script}") == ["la la", 1 + gone]


def test_the_price_of_a_release_is_that_of_what_is_selected_by_now() -> None:
    script = f"""
    const price = {{ textContent: "" }};
    const form = {{
      hidden: false, dataset: {{ wavCredits: "0.4", coverCredits: "20" }}, addEventListener: () => 0,
      elements: {{ wav: {{ checked: true }}, upscale: {{ checked: false }} }},
    }};
    document.getElementById = (wanted) => ({{ "new-release": form, "release-price": price }})[wanted] || anything;
    location.hash = "#selected=suno.music%2Fa&selected=suno.music%2Fb";
    {source("release.js")}
    for (const one of listeners["kie:selected"]) one();
    console.log(JSON.stringify(price.textContent));
    """
    assert run(f"{ANYTHING}\n{script}").startswith("2 tracks, in the order of your selection. Costs 0.8 credits")


def test_the_days_of_a_search_are_those_of_the_readers_zone() -> None:
    script = f"""
    const localStorage = {{ getItem: () => '"Asia/Kathmandu"' }}, NodeFilter = {{}};
    class MutationObserver {{ observe() {{}} }}
    const day = {{ title: "Day in UTC" }};
    const zone = {{ value: "", form: {{ querySelectorAll: () => [day] }} }};
    document.querySelector = (wanted) => (wanted.includes("zone") ? zone : null);
    document.body = {{ querySelectorAll: () => [] }};
    document.createTreeWalker = () => ({{ nextNode: () => null }});
    {source("times.js")}
    console.log(JSON.stringify([zone.value, day.title]));
    """
    zone, title = run(f"{ANYTHING}\n{script}")
    assert ZoneInfo(zone).utcoffset(datetime(2026, 11, 20, tzinfo=UTC)) == timedelta(hours=5, minutes=45)
    assert title == f"Day in {zone}"
