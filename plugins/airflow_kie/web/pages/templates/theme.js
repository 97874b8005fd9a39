// Follows the theme that was chosen in Airflow, which its pages keep in this browser; the system's otherwise.
(() => {
  "use strict";
  const apply = () => {
    let chosen = null;
    try {
      chosen = localStorage.getItem("theme");
    } catch {
      // a browser that keeps nothing
    }
    if (["light", "dark"].includes(chosen)) document.documentElement.dataset.theme = chosen;
    else delete document.documentElement.dataset.theme;
  };
  window.addEventListener("storage", (event) => event.key === "theme" && apply());
  apply();
})();
