// Shows times in the reader's zone: the one chosen in Airflow, the browser's otherwise. UTC is what they say when pointed at.
(() => {
  "use strict";
  const MONTHS = "January February March April May June July August September October November December".split(" ");
  const TIME = new RegExp(`(\\d{1,2}) (${MONTHS.join("|")}) (\\d{4}), (\\d\\d):(\\d\\d) UTC`, "g");
  const LEFT = "script, style, pre, code, time, textarea, select";
  const known = (zone) => new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZoneName: "short", timeZone: zone });

  const format = (() => {
    try {
      return known(localStorage.getItem("timezone")?.replaceAll('"', "") || undefined); // Airflow keeps it as JSON
    } catch {
      return known(undefined); // no zone of this browser's, or a browser that keeps nothing
    }
  })();

  // The days that somebody searches for are days of this zone too.
  const zone = document.querySelector('input[name="zone"]');
  if (zone) {
    zone.value = format.resolvedOptions().timeZone;
    for (const day of zone.form.querySelectorAll('input[type="date"]')) day.title = `Day in ${zone.value}`;
  }

  const partsOf = (moment) => Object.fromEntries(format.formatToParts(moment).map(({ type, value }) => [type, value]));

  const local = (text, [day, month, year, hour, minute]) => {
    const moment = new Date(Date.UTC(year, MONTHS.indexOf(month), day, hour, minute));
    const part = partsOf(moment);
    return Object.assign(document.createElement("time"), {
      dateTime: moment.toISOString(),
      title: text,
      textContent: `${part.day} ${part.month} ${part.year}, ${part.hour}:${part.minute} ${part.timeZoneName}`,
    });
  };

  const show = (root) => {
    for (const day of root.querySelectorAll("time[data-day]")) {
      const part = partsOf(new Date(day.dateTime));
      day.textContent = `${part.day} ${part.month.slice(0, 3)} ${part.year}`;
      day.removeAttribute("data-day");
    }
    const texts = [];
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) if (walker.currentNode.data.includes(" UTC") && !walker.currentNode.parentElement.closest(LEFT)) texts.push(walker.currentNode);
    for (const text of texts) {
      const parts = [];
      let end = 0;
      for (const found of text.data.matchAll(TIME)) {
        parts.push(text.data.slice(end, found.index), local(found[0], found.slice(1)));
        end = found.index + found[0].length;
      }
      if (end) text.replaceWith(...parts, text.data.slice(end));
    }
  };

  new MutationObserver((changes) => changes.some(({ addedNodes }) => addedNodes.length) && show(document.body)).observe(document.body, { childList: true, subtree: true });
  show(document.body);
})();
