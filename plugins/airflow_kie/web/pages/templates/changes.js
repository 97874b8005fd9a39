"use strict";
// Sends what somebody changes, says what became of it, and lets the page show it.
const kie = (() => {
  document.documentElement.dataset.scripts = "1"; // buttons that need this are shown
  const place = document.getElementById("outcome");
  let timer = 0;

  const say = (text, failed) => {
    place.textContent = text;
    place.dataset.failed = failed ? "1" : "";
    place.hidden = false;
    clearTimeout(timer);
    timer = setTimeout(() => (place.hidden = true), failed ? 12000 : 5000);
  };

  const sentence = async (answer) => {
    if ((answer.headers.get("content-type") || "").startsWith("application/json")) return await answer.json();
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const parts = [...page.querySelectorAll(".message h1, .message p")].map((part) => part.textContent.trim());
    return { message: `${parts.filter(Boolean).slice(0, 2).join(". ")}` || `The server answered ${answer.status}.` };
  };

  // Returns what the server has answered, or null where it refused.
  const change = async (address, body) => {
    const isFile = body instanceof Blob;
    try {
      const answer = await fetch(address, {
        method: "POST",
        headers: { "X-Kie-Change": "1", "Content-Type": isFile ? body.type || "application/octet-stream" : "application/json" },
        body: isFile ? body : JSON.stringify(body),
        redirect: "error",
      });
      const came = await sentence(answer);
      if (came.message) say(came.message, !answer.ok);
      if (!answer.ok) return null;
      document.dispatchEvent(new Event("kie:changed"));
      return came;
    } catch {
      say("The server did not answer, and the change may be lost. Reload the page to check.", true);
      return null;
    }
  };

  // Triggers a DAG through Airflow's own API, with the rights of who uses the page; returns the run, or why there is none.
  // The run's id is ours and stays until Airflow has answered, also while the page is loaded again: a second try of the
  // same starts no second run.
  const SENT = "kie-run-sent";
  let sent = {};
  try {
    sent = JSON.parse(sessionStorage.getItem(SENT)) || {};
  } catch {
    // a browser that keeps nothing
  }
  const keep = (what) => {
    sent = what;
    try {
      sessionStorage.setItem(SENT, JSON.stringify(what));
    } catch {
      // the same
    }
  };
  const newRun = () => `library__${new Date().toISOString()}-${crypto.getRandomValues(new Uint32Array(1))[0].toString(16)}`;
  const trigger = async (airflow, dag, conf) => {
    const what = JSON.stringify([dag, conf]);
    if (sent.what !== what) keep({ what, run: newRun() });
    const { run } = sent;
    try {
      const answer = await fetch(`${airflow}/api/v2/dags/${dag}/dagRuns`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ dag_run_id: run, logical_date: null, conf }),
      });
      // A proxy that has waited too long answers so too: whether there is a run nobody knows, so its id stays.
      if (answer.status >= 500) return { problem: `Airflow answered ${answer.status}. Try again: nothing is made twice.` };
      keep({});
      if (answer.ok || answer.status === 409) return { run }; // 409: it was there already, our first try has arrived
      const { detail } = await answer.json().catch(() => ({}));
      if (answer.status === 401) return { problem: "You are no longer logged in. Log in to Airflow in another tab, then try again." };
      if (answer.status === 404) return { problem: `This Airflow has no DAG ${dag}.` };
      return { problem: `Airflow refused it: ${typeof detail === "string" ? detail : answer.status}` };
    } catch {
      return { problem: "Airflow did not answer. Try again: nothing is made twice." };
    }
  };

  // What costs something is asked twice: frames that allow no dialogs ask in the button itself.
  const armed = new Map(); // button → what it showed
  const disarm = (button) => {
    if (!armed.has(button)) return;
    button.replaceChildren(...armed.get(button));
    armed.delete(button);
    delete button.dataset.armed;
  };
  const confirmed = (button) => {
    if (!button?.dataset.confirm) return true;
    if (armed.has(button)) return disarm(button), true;
    armed.set(button, [...button.childNodes]);
    button.textContent = button.dataset.confirm;
    button.dataset.armed = "1";
    setTimeout(() => disarm(button), 6000);
    return false;
  };

  // The second click of a double click answers no question.
  const ignore = (event) => {
    if (event.detail < 2 || !event.target.closest("[data-confirm]")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  document.addEventListener("click", ignore, true);

  document.addEventListener("submit", async (event) => {
    const address = event.target.dataset.changeForm;
    if (!address) return;
    event.preventDefault();
    const button = event.submitter;
    if (!confirmed(button)) return;
    const fields = [...new FormData(event.target)].map(([name, value]) => [name, value === "true" ? true : value]);
    button.disabled = true;
    if (await change(address, Object.fromEntries(fields))) event.target.reset();
    button.disabled = false;
  });
  document.addEventListener("change", async (event) => {
    const [file, address] = [event.target.files?.[0], event.target.dataset?.upload];
    if (!file || !address) return;
    say("Uploading the picture.");
    event.target.value = ""; // the same one may be sent again
    await change(address, file);
  });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-change]");
    if (!button || button.disabled || !confirmed(button)) return;
    button.disabled = true;
    await change(button.dataset.change, JSON.parse(button.dataset.with || "{}"));
    button.disabled = false;
  });
  return { change, confirmed, say, trigger };
})();
