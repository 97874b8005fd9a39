// Extras of a song: they trigger DAG song_extras through Airflow's own API, and follow its run until it has ended.
(() => {
  "use strict";
  const form = () => document.getElementById("make-extras");
  const { airflow, song } = form().dataset;
  const KEY = `kie-extras-${song}`;
  let runs = JSON.parse(sessionStorage.getItem(KEY) || "[]"); // of this tab: run, title
  let timer = 0;

  const draw = () => {
    sessionStorage.setItem(KEY, JSON.stringify(runs));
    if (!form()) return;
    const take = form().elements.take.value;
    for (const button of [...form().elements].filter(({ type }) => type === "submit")) {
      button.disabled = button.dataset.takes.split(" ").includes(take) || runs.some((one) => one.extra === button.value && one.take === take);
    }
    if (runs.length) document.getElementById("extras-state").textContent = `${runs.map(({ title }) => title).join(", ")}: in progress. It appears here automatically.`;
  };

  const follow = async () => {
    clearTimeout(timer);
    for (const one of document.hidden ? [] : [...runs]) {
      const address = `${airflow}/api/v2/dags/song_extras/dagRuns/${encodeURIComponent(one.run)}`;
      const answer = await fetch(address, { cache: "no-store" }).catch(() => null);
      const state = answer?.ok ? (await answer.json()).state : answer?.status === 404 ? "gone" : "";
      if (!["success", "failed", "gone"].includes(state)) continue;
      runs = runs.filter(({ run }) => run !== one.run);
      if (state === "failed") kie.say(`${one.title} failed. See the log of the failed task in run ${one.run} of DAG song_extras.`, true);
      document.dispatchEvent(new Event("kie:changed"));
    }
    draw();
    if (runs.length) timer = setTimeout(follow, 4000);
  };

  document.addEventListener("submit", async (event) => {
    if (event.target.id !== "make-extras") return;
    event.preventDefault();
    const button = event.submitter;
    if (!kie.confirmed(button)) return;
    const extra = button.value;
    const take = form().elements.take.value;
    button.disabled = true;
    const { run, problem } = await kie.trigger(airflow, "song_extras", { songs: [song], extras: [extra], take });
    if (problem) kie.say(problem, true);
    else runs.push({ run, extra, take, title: button.dataset.title });
    draw();
    if (runs.length) follow();
  });
  document.addEventListener("change", (event) => form() && event.target.form === form() && draw());
  new MutationObserver(draw).observe(document.querySelector("main"), { childList: true });
  draw();
  if (runs.length) follow();
})();
