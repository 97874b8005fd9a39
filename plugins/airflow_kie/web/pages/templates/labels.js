// Sets a label on what is selected, or removes it.
(() => {
  "use strict";
  const form = document.getElementById("new-label");
  const opener = document.getElementById("label");
  const results = () => new URLSearchParams(location.hash.slice(1)).getAll("selected");
  const show = (open) => {
    form.hidden = !open;
    opener.setAttribute("aria-expanded", String(open));
    (open ? form.elements.name : opener).focus();
  };
  opener.addEventListener("click", () => show(form.hidden));
  document.getElementById("label-close").addEventListener("click", () => show(false));
  form.addEventListener("keydown", (event) => event.key === "Escape" && show(false));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const sets = event.submitter.value === "set";
    const value = sets ? form.elements.value.value.trim() : "";
    if (!results().length) return kie.say("Select the results first.", true);
    if (sets && !value) return kie.say("Give the label a value.", true);
    event.submitter.disabled = true;
    const done = await kie.change(form.dataset.address, { results: results(), name: form.elements.name.value.trim(), value });
    event.submitter.disabled = false;
    if (done) show(false);
  });
})();
