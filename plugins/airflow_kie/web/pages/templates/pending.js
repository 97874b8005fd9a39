// A selection of pending songs: start them again, or give them up.
(() => {
  "use strict";
  const form = document.getElementById("selection");
  const boxes = () => [...document.querySelectorAll(".pick")];
  const chosen = () => boxes().filter((box) => box.checked).map((box) => box.value);
  let last = null;

  const show = () => {
    const count = chosen().length;
    form.hidden = !count;
    form.querySelector("strong").textContent = `${count} selected`;
    document.documentElement.toggleAttribute("data-selecting", count > 0);
  };

  for (const box of boxes()) box.hidden = false;
  document.addEventListener("click", ({ target, shiftKey }) => {
    if (!target.matches(".pick")) return;
    const all = boxes();
    const [from, to] = [all.indexOf(last), all.indexOf(target)];
    if (shiftKey && from >= 0) for (const box of all.slice(Math.min(from, to), Math.max(from, to))) box.checked = target.checked;
    last = target;
    show();
  });
  form.addEventListener("reset", () => {
    for (const box of boxes()) box.checked = false;
    show();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = event.submitter;
    if (!kie.confirmed(button)) return;
    button.disabled = true;
    const done = await kie.change(`${form.dataset.root}/songs/selected/${button.value}`, { songs: chosen() });
    button.disabled = false;
    if (done) setTimeout(() => location.reload(), 2500); // the sentence can be read
  });
  show();
})();
