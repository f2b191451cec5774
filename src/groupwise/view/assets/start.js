"use strict";

// Which page is shown, the menu, and what the runs have written since.

const MENU = [["overview", "Overview"], ["rollouts", "Rollouts"], ["prompt", "Prompt over time"], ["what-if", "What if"], ["evaluation", "Evaluation"], ["compare", "Compare"]];
let shownPage = {};
let drawn = Promise.resolve();

/** Draws the page that the address names; ``drawn`` waits for the newest drawing. */
view.draw = () => (drawn = drawPage());

async function drawPage() {
  const { page: asked_, fields } = place();
  const name = view.stored ? "report" : asked_;
  const main = document.getElementById("main");
  const page = {};
  shownPage = page;
  const made = el("div", { class: `page ${name}` });
  drawMenu(name);
  try {
    await (view.pages[name] ?? view.pages.overview)(made, fields, page);
  } catch (error) {
    made.append(heading(MENU.find(([key]) => key === name)?.[1] ?? "Group"), el("p", { class: "warn", role: "alert" }, error.message));
  }
  if (shownPage !== page) return;
  main.replaceChildren(made);
  const title = made.querySelector("h1");
  document.title = `${title?.textContent ?? "Groupwise"} · Groupwise`;
  if (view.moved) title?.focus({ preventScroll: true });
  scrollTo(0, 0);
  document.documentElement.dataset.page = name;
}

function drawMenu(name) {
  if (view.stored) return;
  const active = name === "group" ? "rollouts" : name;
  document.getElementById("menu").replaceChildren(...MENU.filter(([key]) => key !== "compare" || view.runs.length > 1 || active === key).map(([key, title]) => el("a", { href: `#/${key}`, "aria-current": key === active ? "page" : null }, title)));
  const menu = document.getElementById("menu"), chosen = menu.querySelector("[aria-current]");
  if (chosen) menu.scrollLeft = chosen.offsetLeft - menu.offsetLeft - 20;
}

async function readRuns() {
  const found = await ask("runs");
  Object.assign(view, { runs: found.runs, curated: found.curated, methods: found.methods });
}

/** Listens for changes, and is there when the server has begun to tell them: what a page reads afterwards misses none.
 * They are gathered for a moment, so that a busy run costs a page little, and wait for a page that is being drawn: it
 * may have read before them. */
function listen() {
  const source = new EventSource("/api/events");
  const words = document.getElementById("pulse");
  let waiting = [], busy = false, heard = false;
  const work = async () => {
    if (busy || !waiting.length) return;
    busy = true;
    const events = waiting;
    waiting = [];
    try {
      for (let seen; seen !== drawn;) await (seen = drawn);
      if (events.some((event) => event.about || event.rows || event.again)) await readRuns();
      if (events.some((event) => event.again)) await view.draw();
      else await shownPage.changed?.(events);
      tellPulse(words, events);
    } catch (error) {
      words.textContent = error.message;
    }
    busy = false;
    if (waiting.length) setTimeout(work, 100);
  };
  source.addEventListener("message", (event) => { waiting.push(JSON.parse(event.data)); work(); });
  source.addEventListener("hello", async () => {
    if (heard) { await readRuns(); await view.draw(); }
    heard = true;
    tellPulse(words, []);
  });
  source.addEventListener("error", () => { words.textContent = "the viewer has stopped"; words.className = "pulse gone"; });
  return new Promise((resolve) => ["hello", "error"].forEach((name) => source.addEventListener(name, resolve, { once: true })));
}

function tellPulse(words, events) {
  const running = view.runs.filter((run) => run.status === "running").length;
  const again = events.find((event) => event.again);
  const said = again ? `${runName(again.run)} went back or was started over` : running ? "live" : "";
  if (words.textContent !== said) words.textContent = said;
  words.className = running ? "pulse on" : "pulse";
}

async function start() {
  const stored = document.getElementById("stored");
  if (stored) view.stored = JSON.parse(stored.textContent);
  else await listen();
  try {
    await readRuns();
  } catch (error) {
    document.getElementById("main").append(el("p", { class: "warn", role: "alert" }, error.message));
    return;
  }
  await view.draw();
  if (!view.stored) tellPulse(document.getElementById("pulse"), []);
  addEventListener("hashchange", () => { view.moved = true; view.draw(); });
}

start();
