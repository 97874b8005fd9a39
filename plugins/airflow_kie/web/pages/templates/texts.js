// Shows a text file where somebody opens it: lyrics, and timestamped lyrics with the time of each line.
(() => {
  "use strict";
  const MOST = 200000; // characters
  const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

  const lines = (words) => {
    const made = [];
    let line = "";
    let start = 0;
    for (const { word, startS } of words) {
      for (const [number, part] of String(word).split("\n").entries()) {
        if (number && line) made.push(`${clock(start)}  ${line}`);
        if (number) line = "";
        if (part.trim()) {
          if (!line) start = Number(startS) || 0;
          line = `${line} ${part.trim()}`.trim();
        }
        if (line.length > 60) line = void made.push(`${clock(start)}  ${line}`) || "";
      }
    }
    if (line) made.push(`${clock(start)}  ${line}`);
    return made.join("\n");
  };

  const readable = (text) => {
    try {
      const words = JSON.parse(text).alignedWords;
      return Array.isArray(words) ? lines(words) : text;
    } catch {
      return text;
    }
  };

  const show = async (details) => {
    const place = details.querySelector("pre");
    if (!details.open || place.dataset.read) return;
    const answer = await fetch(details.dataset.text, { redirect: "error" }).catch(() => null);
    const text = answer?.ok ? await answer.text().catch(() => null) : null;
    if (text !== null) place.dataset.read = "1"; // otherwise it is read again when it is opened again
    place.textContent = text === null ? "The file could not be read. Close and open it again later, or download it." : readable(text.slice(0, MOST));
  };
  document.addEventListener("toggle", (event) => event.target.matches?.("[data-text]") && show(event.target), true); // it does not bubble
})();
