// The way from a result to its neighbours in the library's order, and back to the search that somebody came from.
(() => {
  "use strict";
  const place = () => document.querySelector("[data-neighbours]");
  let known = null;

  const draw = () => {
    if (!known || !place() || place().querySelector("[rel=prev], [rel=next]")) return;
    place().querySelector("[rel=up]").href = known.back;
    for (const [name, rel, sign] of [["before", "prev", "‹"], ["after", "next", "›"]]) {
      if (!known[name]) continue;
      const link = Object.assign(document.createElement("a"), { rel, href: known[name].page, textContent: rel === "prev" ? `${sign} ${known[name].title}` : `${known[name].title} ${sign}` });
      place().append(link);
    }
  };

  const learn = async () => {
    const answer = await fetch(`${place().dataset.neighbours}${location.search}`, { cache: "no-store" }).catch(() => null);
    known = answer?.ok ? await answer.json() : null;
    draw();
  };

  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select, textarea, audio, video, pre, summary") || event.ctrlKey || event.metaKey || event.altKey) return;
    const rel = { ArrowLeft: "prev", ArrowRight: "next", Escape: "up" }[event.key];
    place()?.querySelector(`[rel=${rel}]`)?.click();
  });
  new MutationObserver(draw).observe(document.querySelector("main"), { childList: true });
  learn();
})();
