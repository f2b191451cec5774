"use strict";

// What every page shares: elements made of plain text, the address, questions to the server, numbers in words.

const view = { runs: [], curated: [], methods: [], pages: {}, live: new Set(), stored: null };

/** An element with properties and children; strings become text, never markup. */
function el(name, properties, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") made.className = value;
    else if (key === "on") for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    else if (key === "style") for (const [property, text] of Object.entries(value)) made.style.setProperty(property, text);
    else if (key in made && typeof value !== "string") made[key] = value;
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...nodes(children));
  return made;
}

/** Children as the DOM takes them: what is left out with null, undefined or false is not there. */
function nodes(children) {
  return children.flat(3).filter((child) => child !== null && child !== undefined && child !== false).map((child) => (child instanceof Node ? child : String(child)));
}

/** Gives an element other children. */
function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
}

/** Asks the server; in an exported file the answers lie in the page. */
async function ask(question, fields = {}) {
  const query = new URLSearchParams(Object.entries(fields).filter(([, value]) => value !== "" && value !== null && value !== undefined)).toString();
  const address = query ? `${question}?${query}` : question;
  if (view.stored) {
    if (address in view.stored) return view.stored[address];
    throw new Error("This file holds what its run had when it was written; groupwise view shows the rest.");
  }
  const answer = await fetch(`/api/${address}`, { credentials: "same-origin" });
  if (answer.status === 403) throw new Error("The viewer was started anew: open the address that it printed.");
  const found = await answer.json();
  if (found.error) throw new Error(found.error);
  return found;
}

/** The address behind the #: which page, and its fields. */
function place() {
  const [page, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { page: page || "overview", fields: Object.fromEntries(new URLSearchParams(query ?? "")) };
}

function link(page, fields = {}) {
  const kept = Object.entries(fields).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const query = new URLSearchParams(kept).toString();
  return `#/${page}${query ? `?${query}` : ""}`;
}

function go(page, fields) {
  location.hash = link(page, fields);
}

/** Changes the address without drawing the page anew: a link to it then holds what is seen. A file has one page. */
function remember(page, fields) {
  if (view.stored) return;
  history.replaceState(null, "", link(page, fields));
}

function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = Number.isInteger(value) && size < 1e15 ? value.toLocaleString("en") : size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(digits)));
  return text.replaceAll("-", "−");
}

const signed = (value, digits) => (value > 0 ? `+${number(value, digits)}` : number(value, digits));
/** A difference of two shares: what rounds to nothing has no sign. */
function inPoints(value) {
  const shown = (100 * value).toFixed(1);
  return Number(shown) === 0 ? "0.0" : `${value > 0 ? "+" : ""}${shown.replace("-", "−")}`;
}

const share = (value, digits = 1) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)} %`);
const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds && seconds < 0.1) return `${Number((1000 * seconds).toPrecision(2))} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** A table whose first column names the row. Cells are text or elements. On a narrow screen rows are blocks. */
function table(caption, heads, rows, properties = {}) {
  const head = el("tr", {}, heads.map((title) => el("th", { scope: "col", class: title.number ? "number" : null }, title.title ?? title)));
  const body = rows.map((row) => el("tr", row.properties ?? {}, (row.cells ?? row).map((cell, at) =>
    el(at === 0 ? "th" : "td", { scope: at === 0 ? "row" : null, class: heads[at].number ? "number" : null, "data-head": heads[at].title ?? heads[at] }, cell))));
  const stacked = properties.class === "plain" ? "plain" : `${properties.class ?? ""} stack`.trim();
  const made = el("table", { ...properties, class: stacked }, el("caption", { class: properties.quiet ? "visually-hidden" : null }, caption), el("thead", {}, head), el("tbody", {}, body));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, made);
}

/** A choice among a few, as a labelled select. */
function choice(label, options, value, change) {
  const made = el("select", { on: { change: (event) => change(event.target.value) } },
    options.map(([key, text]) => el("option", { value: key, selected: String(key) === String(value) }, text)));
  return el("label", { class: "field" }, el("span", {}, label), made);
}

function buttons(label, options, value, change) {
  const made = el("div", { class: "segments", role: "group", "aria-label": label }, options.map(([key, text]) =>
    el("button", { type: "button", "aria-pressed": String(key === value), on: { click: (event) => {
      for (const other of event.currentTarget.parentElement.children) other.setAttribute("aria-pressed", String(other === event.currentTarget));
      change(key);
    } } }, text)));
  return made;
}

/** The runs as a choice; nothing where there is one. */
function runChoice(fields, change) {
  return view.runs.length > 1 ? choice("Run", view.runs.map((run, at) => [at, runName(at)]), fields.run ?? 0, change) : null;
}

const NO_ROLLOUTS = "No step of this run is in the ledger. Stages that learn from data alone (demonstrations, pairs, labels) draw no rollouts; those of others come with their first step.";

/** For a run that has no rollouts: the others are a choice away. */
function noSteps(page, state) {
  return [el("div", { class: "controls" }, runChoice(state, (run) => go(page, { run }))), note(NO_ROLLOUTS)];
}

const moment = (seconds) => `${new Date(1000 * seconds).toLocaleString("en-GB", { day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit", timeZone: "UTC" }).replace(" at ", ", ")} UTC`;

function runName(at) {
  const { name, directory } = view.runs[at];
  return oneLine(view.runs.some((other, place) => place !== at && other.name === name) ? `${name} (${directory})` : name);
}

function heading(title, ...beside) {
  return el("div", { class: "heading" }, el("h1", { tabindex: "-1" }, title), beside);
}

function note(...children) {
  return el("p", { class: "note" }, children);
}

/** Calls once after things have been quiet so long. */
function later(milliseconds, call) {
  let waiting = 0;
  return (...given) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => call(...given), milliseconds);
  };
}
