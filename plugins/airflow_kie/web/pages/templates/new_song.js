// The form for a new song: it triggers DAG music_generate through Airflow's own API, and follows what becomes of it.
(() => {
  "use strict";
  const form = document.getElementById("new-song");
  const opener = document.getElementById("new");
  const list = document.getElementById("being-made");
  const { airflow, root } = form.dataset;
  const api = `${airflow}/api/v2/dags/music_generate/dagRuns`;
  const KEY = "kie-being-made";
  const MOST = 12;
  let known = null;
  let runs = JSON.parse(sessionStorage.getItem(KEY) || "[]"); // of this tab: run, fields, state, song, why

  // --- the form ---
  const fill = (fields) => {
    for (const [name, value] of Object.entries(fields)) {
      const field = form.elements[name];
      if (field?.type === "checkbox") field.checked = Boolean(value);
      else if (field && value) field.value = value;
    }
    limit();
  };

  const limit = () => {
    if (!known) return;
    const custom = form.elements.custom_mode.checked;
    const [words, style] = known.limits.by_model[form.elements.model.value] || [5000, 1000];
    form.elements.prompt.maxLength = custom ? words : known.limits.prompt;
    form.elements.style.maxLength = style;
    form.elements.title.maxLength = known.limits.title;
    form.elements.style.required = form.elements.title.required = custom;
    for (const name of ["style", "title"]) form.elements[name].closest("label").hidden = !custom;
    form.elements.prompt.required = !(custom && form.elements.instrumental.checked);
    const price = known.models.find((model) => model.name === form.elements.model.value)?.price;
    const parts = [`Costs ${price || "an unknown amount"}; its cover is free`, known.balance && `${known.balance} are left`, known.stopped];
    document.getElementById("price").textContent = `${parts.filter(Boolean).join(". ")}.`.replace("..", ".");
  };

  const open = async (song, fields) => {
    form.hidden = false;
    opener.setAttribute("aria-expanded", "true");
    if (!(await learn(song))) return kie.say("Models and prices could not be read. Reload the page.", true);
    const chosen = form.elements.model.value;
    form.elements.model.replaceChildren(...known.models.map(({ name }) => new Option(name, name)));
    form.elements.model.value = chosen || known.models[0].name;
    fill(fields || known.fields);
    form.elements.prompt.focus();
  };

  const learn = async (song) => {
    const query = new URLSearchParams(song ? { song } : {});
    const answer = await fetch(`${root}/library/new-song?${query}`, { cache: "no-store" }).catch(() => null);
    if (!answer?.ok) return false;
    known = await answer.json();
    if (!known.complete) setTimeout(async () => form.hidden || ((await learn(song)) && limit()), 1500); // the balance
    return true;
  };

  const close = () => {
    form.hidden = true;
    opener.setAttribute("aria-expanded", "false");
    opener.focus();
  };

  opener.addEventListener("click", () => (form.hidden ? open() : close()));
  document.getElementById("new-close").addEventListener("click", close);
  form.addEventListener("keydown", (event) => event.key === "Escape" && close());
  form.addEventListener("input", limit);

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = Object.fromEntries(["prompt", "style", "title", "model"].map((name) => [name, form.elements[name].value.trim()]));
    for (const name of ["custom_mode", "instrumental"]) fields[name] = form.elements[name].checked;
    const conf = { ...fields, style: (fields.custom_mode && fields.style) || null, title: (fields.custom_mode && fields.title) || null };
    event.submitter.disabled = true;
    const { run, problem } = await kie.trigger(airflow, "music_generate", conf);
    event.submitter.disabled = false;
    if (problem) return kie.say(problem, true);
    runs = [{ run, fields, state: "queued" }, ...runs].slice(0, MOST);
    form.reset();
    close();
    draw();
    follow();
  });

  // --- what becomes of it ---
  const STATES = { queued: "queued", running: "in progress", success: "done; covers follow", failed: "failed" };

  let drawn = "";
  const draw = () => {
    runs = runs.filter(({ song }) => !song || !document.querySelector(`#results .tile a[href*="/songs/${CSS.escape(song)}"]`));
    const now = JSON.stringify(runs);
    sessionStorage.setItem(KEY, now);
    if (now === drawn) return; // the keyboard stays where it is
    drawn = now;
    list.hidden = !runs.length;
    list.replaceChildren(...runs.map(tile));
  };

  const element = (name, known, ...children) => {
    const made = Object.assign(document.createElement(name), known);
    made.append(...children);
    return made;
  };

  const tile = ({ run, fields, state, song, why }) => {
    const title = element("strong", { textContent: fields.title || fields.prompt.slice(0, 60) || "A song" });
    const sign = element("span", { className: "no-picture", textContent: state === "failed" ? "!" : "♪" });
    const place = element(song ? "a" : "div", song ? { href: `${root}/songs/${encodeURIComponent(song)}` } : {}, sign, title);
    place.append(element("small", { textContent: why || STATES[state] || state }));
    const again = element("button", { type: "button", className: "button", textContent: "Use again", onclick: () => open("", fields) });
    const gone = () => ((runs = runs.filter((one) => one.run !== run)), draw());
    const hide = element("button", { type: "button", className: "button", textContent: "Hide", onclick: gone });
    const buttons = element("p", { className: "buttons" }, again, hide); // also a run that nobody has any more
    return element("li", { className: `tile making ${state}` }, place, buttons);
  };

  const read = async (address) => {
    const answer = await fetch(address, { cache: "no-store" });
    return answer.ok ? await answer.json() : null;
  };

  let timer = 0;
  const follow = async () => {
    clearTimeout(timer);
    const open = runs.filter(({ state, song }) => !["success", "failed"].includes(state) || (state === "success" && !song));
    for (const one of document.hidden ? [] : open) {
      try {
        const at = `${api}/${encodeURIComponent(one.run)}`;
        one.state = (await read(at))?.state || one.state;
        const entries = `${at}/taskInstances/generate_music/xcomEntries`;
        if (one.state === "success") one.song = (await read(`${entries}/return_value`))?.value;
        if (one.state === "failed") one.why = (await read(`${entries}/failure?stringify=false`))?.value?.message || `It failed. See the log of run ${one.run}.`;
      } catch {
        // away, or asleep: asked again later
      }
    }
    draw();
    if (runs.length) timer = setTimeout(follow, 4000);
  };

  const asked = new URLSearchParams(location.search).get("new");
  if (asked !== null) open(asked);
  if (runs.length) follow();
})();
