"use strict";
// Asks for this same page now and then, and shows what is new. A hidden tab does not ask; sound that plays goes on.
(() => {
  const main = document.querySelector("main");
  main.dataset.live = "1"; // stays, while what is in it is replaced
  const headers = window.self === window.top ? {} : { "X-Kie-Framed": "1" };
  let shown = main.innerHTML;
  let pause = Number(main.dataset.refresh) * 1000;
  let timer = 0;

  const plays = () => [...main.querySelectorAll("audio")].some((audio) => !audio.paused);

  const look = async () => {
    try {
      const answer = await fetch(location.href, { headers, cache: "no-store", redirect: "error" });
      if (answer.status === 401 || answer.status === 403 || answer.status === 404) return location.reload();
      if (answer.ok) {
        headers["If-None-Match"] = answer.headers.get("ETag") || "";
        show(new DOMParser().parseFromString(await answer.text(), "text/html"));
      }
      pause = answer.ok || answer.status === 304 ? Number(main.dataset.refresh) * 1000 : Math.min(2 * pause, 60000);
    } catch {
      pause = Math.min(2 * pause, 60000); // away, or asleep: asked again later
    }
    if (pause) again();
  };

  const show = (page) => {
    const fresh = page.querySelector("main");
    main.dataset.refresh = fresh.dataset.refresh || "0";
    if (fresh.innerHTML === shown) return;
    shown = fresh.innerHTML;
    document.title = page.title;
    main.replaceChildren(...document.adoptNode(fresh).childNodes);
  };

  const again = () => {
    clearTimeout(timer);
    timer = setTimeout(() => (document.hidden || plays() ? again() : look()), pause);
  };

  document.addEventListener("visibilitychange", () => {
    if (document.hidden || !pause || plays()) return;
    clearTimeout(timer);
    look();
  });
  again();
})();
