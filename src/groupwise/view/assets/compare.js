"use strict";

// Compare: what two recipes differ in, what came of it, and the same prompt in both.

view.pages.compare = async (main, fields) => {
  main.append(heading("Compare"));
  if (view.runs.length < 2) { main.append(note("One run is open. ", el("code", {}, "groupwise view RUN OTHER"), " opens two, and compares them here.")); return; }
  const state = { first: "0", second: "1", ...fields };
  const pairs = stagePairs(...[state.first, state.second].map((run) => view.runs[Number(run)].stages.map((stage) => stage.name)));
  const [stage, other] = pairs.find(([one]) => one === state.stage) ?? pairs.at(-1) ?? ["", ""];
  Object.assign(state, { stage, other });
  const found = await ask("compare", { first: state.first, second: state.second, stage, other });
  const names = [runName(Number(state.first)), runName(Number(state.second))];
  const runs = view.runs.map((_, at) => [at, runName(at)]);
  main.append(el("div", { class: "controls" }, choice("First", runs, state.first, (first) => go("compare", { ...state, first })), choice("Second", runs, state.second, (second) => go("compare", { ...state, second })),
    pairs.length > 1 ? choice("Stage", pairs.map((pair) => [pair[0], both(pair)]), state.stage, (stage) => go("compare", { ...state, stage, example: "" })) : null));
  main.append(el("h2", {}, "What came of it"), outcome(found, state, names), el("h2", {}, "Where the recipes differ"));
  main.append(found.recipes.length ? table("Differences of the recipes", ["Place", names[0], names[1]], found.recipes.map((row) => [el("code", {}, row.place.split(/(?<=[._])/).flatMap((part) => [part, el("wbr")])), row.first, row.second]), { class: "texts", quiet: true }) : note("Nowhere: the recipes are the same."));
  main.append(el("h2", {}, "The same prompt in both"));
  if (!found.shared.length) { main.append(note("No prompt was drawn by both in these steps.")); return; }
  state.example = found.shared.includes(state.example) ? state.example : found.shared[0];
  const body = el("div");
  main.append(el("div", { class: "controls" }, choice("Prompt", found.shared.map((name) => [name, name]), state.example, (example) => { state.example = example; drawPair(body, state, names); })), body);
  await drawPair(body, state, names);
};

/** Stages of two runs beside each other: by place where there are equally many, else by name, else the last of each. */
function stagePairs(ours, theirs) {
  if (ours.length === theirs.length) return ours.map((name, at) => [name, theirs[at]]);
  const named = ours.filter((name) => theirs.includes(name)).map((name) => [name, name]);
  return named.length || !ours.length || !theirs.length ? named : [[ours.at(-1), theirs.at(-1)]];
}

function both([one, other]) {
  return one === other ? one : `${one} and ${other}`;
}

function outcome(found, state, names) {
  const last = found.runs.map((run, at) => run.last[at ? state.other : state.stage] ?? {});
  const kept = view.curated.filter((one) => last.some((values) => values[one.name] !== undefined));
  const rows = kept.map((one) => {
    const [a, b] = last.map((values) => values[one.name]);
    return [one.title, number(a), number(b), a === undefined || b === undefined ? "–" : signed(b - a, 3)];
  });
  const results = found.runs.map((run) => run.result);
  if (results.some(Boolean)) rows.unshift(["Held-out pass@1 at the end", share(results[0]?.after.value), share(results[1]?.after.value), results.every(Boolean) ? `${signed(100 * (results[1].after.value - results[0].after.value), 3)} points` : "–"]);
  return table(`At the last step of ${both([state.stage, state.other])}`, ["Measure", { title: names[0], number: true }, { title: names[1], number: true }, { title: "Difference", number: true }], rows);
}

async function drawPair(body, state, names) {
  remember("compare", state);
  const places = [{ run: state.first, stage: state.stage, example: state.example }, { run: state.second, stage: state.other, example: state.example }];
  const drawn = await Promise.all(places.map((place) => ask("prompt", place)));
  const newest = drawn.map((one) => one.steps.at(-1));
  const best = newest.map((step) => step && [...step.rollouts].sort((a, b) => (b.reward ?? -Infinity) - (a.reward ?? -Infinity))[0]);
  const texts = best.every(Boolean) ? sideBySide(best[0].text, best[1].text) : [null, null];
  fill(body, says(drawn[0].prompt ?? "", "question"), el("div", { class: "two" }, drawn.map((one, at) => el("div", {},
    el("h3", {}, names[at], el("small", {}, newest[at] ? `step ${newest[at].step}, reward ${number(best[at].reward, 3)}, best of ${newest[at].rollouts.length}` : "not drawn")), texts[at],
    el("p", {}, el("a", { href: link("prompt", places[at]) }, "Over time"))))));
}
