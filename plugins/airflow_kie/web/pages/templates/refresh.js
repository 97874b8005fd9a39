// Asks for this same page now and then, and shows what is new. A hidden tab does not ask; what plays goes on.
(() => {
  "use strict";
  const main = document.querySelector("main");
  main.dataset.live = "1"; // stays, while what is in it is replaced
  const headers = window.self === window.top ? {} : { "X-Kie-Framed": "1" };
  const usual = () => Number(main.dataset.refresh || 0) * 1000;
  let shown = main.innerHTML;
  let pause = usual();
  let timer = 0;

  const plays = () => [...main.querySelectorAll("audio, video")].some((one) => !one.paused);

  // What somebody has selected, such as the take of which something is to be made, stays selected.
  const usually = ({ options }) => [...options].find((one) => one.defaultSelected) || options[0];
  const changed = () => [...main.querySelectorAll("select")].filter((field) => field.value !== usually(field)?.value);

  // Where the keyboard is, and what somebody has opened, stays too.
  const stops = () => [...main.querySelectorAll("a, button, input, select, summary, textarea, [tabindex]")];
  const named = ({ id, dataset }) => id || dataset.text;

  const look = async () => {
    try {
      const answer = await fetch(location.href, { headers, cache: "no-store", redirect: "error" });
      if (answer.status === 401 || answer.status === 403) return location.reload();
      if (answer.status === 404) return setTimeout(() => location.reload(), 2500); // what has become of it can be read
      if (answer.ok) {
        delete headers["If-None-Match"]; // what could not be shown yet is sent again
        if (show(new DOMParser().parseFromString(await answer.text(), "text/html"))) headers["If-None-Match"] = answer.headers.get("ETag") || "";
      }
      pause = answer.ok || answer.status === 304 ? usual() : Math.min(2 * pause, 60000);
    } catch {
      pause = Math.min(2 * pause, 60000); // away, or asleep: asked again later
    }
    again();
  };

  const show = (page) => {
    const fresh = page.querySelector("main");
    main.dataset.refresh = fresh.dataset.refresh || "0";
    const typing = [...main.querySelectorAll("input, textarea")].some((field) => field.value !== field.defaultValue);
    if (fresh.innerHTML === shown) return true;
    if (typing || main.querySelector("[data-armed]")) return false;
    shown = fresh.innerHTML;
    document.title = page.title;
    const at = stops().indexOf(document.activeElement);
    const [id, count] = [document.activeElement?.id, stops().length];
    const details = new Map([...main.querySelectorAll("details")].map((one) => [named(one), one]));
    const selected = new Map(changed().map(({ name, value }) => [name, value]));
    if (plays()) {
      // What plays stays: only the parts around it that change are replaced.
      for (const part of main.querySelectorAll("[data-part]")) {
        const other = fresh.querySelector(`#${CSS.escape(part.id)}`);
        if (other) part.replaceWith(document.adoptNode(other));
      }
    } else main.replaceChildren(...document.adoptNode(fresh).childNodes);
    for (const field of main.querySelectorAll("select")) if (selected.has(field.name)) field.value = selected.get(field.name);
    for (const one of main.querySelectorAll("details")) {
      const before = details.get(named(one));
      if (!before || before === one) continue;
      if (one.dataset.text) one.replaceWith(before); // with the text that was read
      else one.open = before.open;
    }
    const held = id ? document.getElementById(id) : stops().length === count ? stops()[at] : null;
    held?.focus({ preventScroll: true });
    return true;
  };

  const again = () => {
    clearTimeout(timer);
    if (pause) timer = setTimeout(() => (document.hidden || plays() ? again() : look()), pause);
  };

  document.addEventListener("kie:changed", look);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden || !pause || plays()) return;
    clearTimeout(timer);
    look();
  });
  again();
})();
