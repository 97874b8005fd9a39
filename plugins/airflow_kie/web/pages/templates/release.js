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
    const costs = [form.elements.wav.checked && `${(count * form.dataset.wavCredits).toFixed(1)} credits for WAVs`, form.elements.upscale.checked && `up to ${Number(form.dataset.coverCredits)} credits for the cover`].filter(Boolean);
    const price = costs.length ? `${costs.join(" and ")}, paid for once` : "nothing";
    document.getElementById("release-price").textContent = count ? `${count} ${count === 1 ? "track" : "tracks"}, in the order of your selection. Costs ${price}.` : "Select the songs of the release first.";
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
  document.addEventListener("kie:selected", () => form.hidden || describe());

  const credits = () => {
    const given = Object.fromEntries([...new FormData(form)].filter(([name, text]) => !["release", "wav", "upscale", "writers", "explicit", "lyrics"].includes(name) && text.trim()));
    const writers = form.elements.writers.value.split(",").map((name) => name.trim()).filter(Boolean);
    if (writers.length) given.writers = writers.map((name) => ({ name }));
    if (form.elements.lyrics.value) given.ai = { lyrics: form.elements.lyrics.value };
    if (form.elements.explicit.value) given.explicit = form.elements.explicit.value === "yes";
    return given;
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!songs().length) return kie.say("Select the songs of the release first.", true);
    const name = form.elements.release.value.trim();
    const conf = { release: name, songs: songs(), credits: credits(), wav: form.elements.wav.checked, upscale: form.elements.upscale.checked };
    event.submitter.disabled = true;
    const { problem } = await kie.trigger(airflow, "deliver_songs", conf);
    event.submitter.disabled = false;
    if (problem) return kie.say(problem, true);
    location.assign(`${root}/releases/${encodeURIComponent(name)}`);
  });
})();
