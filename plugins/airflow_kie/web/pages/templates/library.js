// Searches while somebody types, plays from the grid, moves by keys, and shows by itself what is new.
(() => {
  "use strict";
  const form = document.querySelector("form.filters");
  const player = document.getElementById("player");
  const audio = player.querySelector("audio");
  const headers = window.self === window.top ? {} : { "X-Kie-Framed": "1" };
  const results = () => document.getElementById("results");
  let timer = 0;
  let asked = 0;
  let shown = results().innerHTML;

  const ready = () => {
    for (const button of document.querySelectorAll(".play")) {
      button.hidden = false;
      const plays = !audio.paused && audio.getAttribute("src") === button.dataset.sound;
      button.textContent = plays ? "❚❚" : "▶";
    }
    showSelection();
  };

  // --- what is selected: kept in the address, over pages and searches ---
  const selection = document.getElementById("selection");
  const MOST = 500;
  const selected = new Set(new URLSearchParams(location.hash.slice(1)).getAll("selected"));
  let last = null;

  const showSelection = () => {
    for (const box of document.querySelectorAll(".pick")) {
      box.hidden = false;
      box.checked = selected.has(box.value);
    }
    document.documentElement.toggleAttribute("data-selecting", selected.size > 0);
    selection.hidden = selected.size === 0;
    selection.querySelector("strong").textContent = `${selected.size} selected`;
    const hash = selected.size ? "#" + new URLSearchParams([...selected].map((key) => ["selected", key])) : "";
    history.replaceState(null, "", location.pathname + location.search + hash);
    for (const link of document.querySelectorAll(".pages a")) link.hash = hash;
    document.dispatchEvent(new Event("kie:selected"));
  };

  const select = (boxes, on) => {
    for (const box of boxes) on ? selected.size < MOST && selected.add(box.value) : selected.delete(box.value);
    if (on && selected.size === MOST) kie.say(`A zip holds at most ${MOST} results.`, true);
    showSelection();
  };

  document.addEventListener("click", (event) => {
    if (!event.target.matches(".pick")) return;
    const boxes = [...document.querySelectorAll(".pick")];
    const [from, to] = [boxes.findIndex((box) => box.value === last), boxes.indexOf(event.target)];
    const some = event.shiftKey && from >= 0 ? boxes.slice(Math.min(from, to), Math.max(from, to) + 1) : [event.target];
    last = event.target.value;
    select(some, event.target.checked);
  });
  selection.addEventListener("submit", () => {
    selection.querySelectorAll("input").forEach((input) => input.remove());
    for (const key of selected) selection.append(Object.assign(document.createElement("input"), { type: "hidden", name: "result", value: key }));
  });
  selection.addEventListener("reset", () => {
    selected.clear();
    showSelection();
  });

  const load = async (address, searched = false) => {
    const number = ++asked;
    const lost = () => searched && number === asked && kie.say("The library did not answer: these are still the earlier results. It is asked again automatically.", true);
    try {
      const answer = await fetch(address, { headers, cache: "no-store", redirect: "error" });
      if (answer.status === 401 || answer.status === 403) return location.reload();
      const text = await answer.text();
      if (number !== asked) return;
      if (!answer.ok) return lost();
      const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("results");
      if (fresh.innerHTML === shown) return results().toggleAttribute("data-incomplete", fresh.hasAttribute("data-incomplete"));
      shown = fresh.innerHTML;
      const at = document.activeElement?.closest?.(".tile a")?.getAttribute("href");
      results().replaceWith(document.adoptNode(fresh));
      if (at) document.querySelector(`.tile a[href="${CSS.escape(at)}"]`)?.focus();
      ready();
    } catch {
      lost(); // away, or asleep: asked again later
    }
  };

  const search = () => {
    const usual = { sort: "newest", view: "grid", ...(form.elements.since.value || form.elements.until.value ? {} : { zone: form.elements.zone.value }) };
    const query = new URLSearchParams([...new FormData(form)].filter(([name, value]) => value && value !== usual[name]));
    const address = `${form.getAttribute("action")}?${query}`;
    history.replaceState(null, "", address + location.hash);
    load(address, true);
  };

  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, 250);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });

  const play = (button) => {
    const same = audio.getAttribute("src") === button.dataset.sound;
    if (same && !audio.paused) return audio.pause();
    if (!same) audio.setAttribute("src", button.dataset.sound);
    player.hidden = false;
    player.querySelector("strong").textContent = button.getAttribute("aria-label").replace(/^Play /, "");
    audio.play().catch(() => 0); // its event says more
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".play");
    if (button) play(button);
  });
  for (const name of ["play", "pause", "ended"]) audio.addEventListener(name, ready);
  audio.addEventListener("error", () => {
    kie.say(`${player.querySelector("strong").textContent} could not be played. Try again, or open its page.`, true);
    audio.pause();
    audio.removeAttribute("src"); // another click asks for it again
    ready();
  });

  const columns = () => {
    const tiles = [...document.querySelectorAll(".tile")];
    return tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length || 1;
  };
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input:not(.pick), textarea, select, audio") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      event.preventDefault();
      return form.elements.q.focus();
    }
    const links = [...document.querySelectorAll(".tile a")];
    const at = links.indexOf(document.activeElement?.closest?.(".tile")?.querySelector("a"));
    if (event.key === " " && at >= 0 && !event.target.matches(".pick")) {
      event.preventDefault();
      const button = links[at].parentElement.querySelector(".play");
      return button && play(button);
    }
    if (event.key === "x" && at >= 0) {
      const box = links[at].closest(".tile").querySelector(".pick");
      return select([box], !box.checked);
    }
    const choice = at >= 0 && links[at].closest(".tile").dataset.choice;
    if (choice && ["1", "2", "0"].includes(event.key)) {
      return kie.change(choice, event.key === "0" ? { undo: true } : { cover: Number(event.key) });
    }
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() }[event.key];
    if (!step || !links.length) return;
    event.preventDefault();
    links[Math.max(0, Math.min(links.length - 1, at < 0 ? 0 : at + step))].focus();
  });

  const empty = (event) => {
    if (!event.target.matches?.(".tile img")) return;
    const sign = document.createElement("span");
    sign.className = "no-picture";
    sign.textContent = "▤";
    event.target.replaceWith(sign);
  };
  document.addEventListener("error", empty, true); // it does not bubble
  form.querySelector("button").hidden = true; // each change searches by itself

  document.addEventListener("kie:changed", () => load(location.pathname + location.search));
  let seconds = 0;
  setInterval(() => {
    seconds += 2; // more often while the index is still being read
    if (document.hidden || (seconds % 10 && !results().hasAttribute("data-incomplete"))) return;
    load(location.pathname + location.search);
  }, 2000);
  ready();
})();
