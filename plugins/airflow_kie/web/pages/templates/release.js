// A release of what is selected: it triggers DAG deliver_songs through Airflow's own API.
(() => {
  "use strict";
  const form = document.getElementById("new-release");
  const opener = document.getElementById("make-release");
  const { airflow, root } = form.dataset;
  const SONG = "suno.music/";
  const songs = () => new URLSearchParams(location.hash.slice(1)).getAll("selected").filter((key) => key.startsWith(SONG)).map((key) => key.slice(SONG.length));

  const describe = () => {
    const count = songs().length;
    const wavs = form.elements.wav.checked ? `${(count * 0.4).toFixed(1)} credits for WAVs, paid for once` : "nothing";
    document.getElementById("release-price").textContent = count ? `${count} ${count === 1 ? "track" : "tracks"}, in the order of your selection. Costs ${wavs}.` : "Select the songs of the release first.";
  };
  const close = () => {
    form.hidden = true;
    opener.setAttribute("aria-expanded", "false");
    opener.focus();
  };
  opener.addEventListener("click", () => {
    if (!form.hidden) return close();
    form.hidden = false;
    opener.setAttribute("aria-expanded", "true");
    describe();
    form.elements.release.focus();
  });
  document.getElementById("release-close").addEventListener("click", close);
  form.addEventListener("keydown", (event) => event.key === "Escape" && close());
  form.addEventListener("input", describe);

  // Its id is ours, so a second try of the same form starts no second run.
  const newId = () => `library__${new Date().toISOString()}-${crypto.getRandomValues(new Uint32Array(1))[0].toString(16)}`;
  let run = newId();
  form.addEventListener("input", () => (run = newId()));
  const credits = () => {
    const given = Object.fromEntries([...new FormData(form)].filter(([name, text]) => !["release", "wav", "writers", "explicit"].includes(name) && text.trim()));
    const writers = form.elements.writers.value.split(",").map((name) => name.trim()).filter(Boolean);
    if (writers.length) given.writers = writers.map((name) => ({ name }));
    if (form.elements.explicit.value) given.explicit = form.elements.explicit.value === "yes";
    return given;
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!songs().length) return kie.say("Select the songs of the release first.", true);
    const name = form.elements.release.value.trim();
    const conf = { release: name, songs: songs(), credits: credits(), wav: form.elements.wav.checked };
    event.submitter.disabled = true;
    const problem = await ask(conf);
    event.submitter.disabled = false;
    if (problem) return kie.say(problem, true);
    run = newId();
    location.assign(`${root}/releases/${encodeURIComponent(name)}`);
  });

  const ask = async (conf) => {
    try {
      const answer = await fetch(`${airflow}/api/v2/dags/deliver_songs/dagRuns`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ dag_run_id: run, logical_date: null, conf }),
      });
      if (answer.ok || answer.status === 409) return ""; // 409: our first try has arrived
      const { detail } = await answer.json().catch(() => ({}));
      if (answer.status === 401) return "You are not logged in any more. Log in to Airflow in another tab, then try again.";
      if (answer.status === 404) return "This Airflow has no DAG deliver_songs.";
      return `Airflow refused it: ${typeof detail === "string" ? detail : answer.status}`;
    } catch {
      return "Airflow did not answer. Try again: a release that was asked for already is not made twice.";
    }
  };
})();
