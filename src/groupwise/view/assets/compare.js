"use strict";

// Compare: what two recipes differ in, what came of it, and the same prompt in both.

view.pages.compare = async (main, fields) => {
  main.append(heading("Compare"));
  if (view.runs.length < 2) { main.append(note("One run is open. ", el("code", {}, "groupwise view RUN OTHER"), " opens two, and compares them here.")); return; }
  const state = { first: "0", second: "1", ...fields };
  let found = await ask("compare", { first: state.first, second: state.second, stage: state.stage });
  const stages = found.stages[0].filter((name) => found.stages[1].includes(name));
  if (!state.stage && stages.length) {
    state.stage = stages.at(-1);
    found = await ask("compare", { first: state.first, second: state.second, stage: state.stage });
  }
  const names = [runName(Number(state.first)), runName(Number(state.second))];
  const runs = view.runs.map((_, at) => [at, runName(at)]);
  main.append(el("div", { class: "controls" }, choice("First", runs, state.first, (first) => go("compare", { ...state, first })), choice("Second", runs, state.second, (second) => go("compare", { ...state, second })),
    stages.length > 1 ? choice("Stage", stages.map((name) => [name, name]), state.stage, (stage) => go("compare", { ...state, stage, example: "" })) : null));
  main.append(el("h2", {}, "What came of it"), outcome(found, state, names), el("h2", {}, "Where the recipes differ"));
  main.append(found.recipes.length ? table("Differences of the recipes", ["Place", names[0], names[1]], found.recipes.map((row) => [el("code", {}, row.place.split(/(?<=[._])/).flatMap((part) => [part, el("wbr")])), row.first, row.second]), { class: "texts", quiet: true }) : note("Nowhere: the recipes are the same."));
  main.append(el("h2", {}, "The same prompt in both"));
  if (!found.shared.length) { main.append(note("No prompt was drawn by both in this stage.")); return; }
  state.example = found.shared.includes(state.example) ? state.example : found.shared[0];
  const body = el("div");
  main.append(el("div", { class: "controls" }, choice("Prompt", found.shared.map((name) => [name, name]), state.example, (example) => { state.example = example; drawPair(body, state, names); })), body);
  await drawPair(body, state, names);
};

function outcome(found, state, names) {
  const kept = view.curated.filter((one) => found.runs.some((run) => run.last[state.stage]?.[one.name] !== undefined));
  const rows = kept.map((one) => {
    const [a, b] = found.runs.map((run) => run.last[state.stage]?.[one.name]);
    return [one.title, number(a), number(b), a === undefined || b === undefined ? "–" : signed(b - a, 3)];
  });
  const results = found.runs.map((run) => run.result);
  if (results.some(Boolean)) rows.unshift(["Held-out pass@1 at the end", share(results[0]?.after.value), share(results[1]?.after.value), results.every(Boolean) ? `${signed(100 * (results[1].after.value - results[0].after.value), 3)} points` : "–"]);
  return table(`At the last step of ${state.stage ?? "the stage"}`, ["Measure", { title: names[0], number: true }, { title: names[1], number: true }, { title: "Difference", number: true }], rows);
}

async function drawPair(body, state, names) {
  remember("compare", state);
  const both = await Promise.all([state.first, state.second].map((run) => ask("prompt", { run, stage: state.stage, example: state.example })));
  const newest = both.map((one) => one.steps.at(-1));
  const best = newest.map((step) => step && [...step.rollouts].sort((a, b) => (b.reward ?? -Infinity) - (a.reward ?? -Infinity))[0]);
  const texts = best.every(Boolean) ? sideBySide(best[0].text, best[1].text) : [null, null];
  fill(body, says(both[0].prompt ?? "", "question"), el("div", { class: "two" }, both.map((one, at) => el("div", {},
    el("h3", {}, names[at], el("small", {}, newest[at] ? `step ${newest[at].step}, reward ${number(best[at].reward, 3)}, best of ${newest[at].rollouts.length}` : "not drawn")), texts[at],
    el("p", {}, el("a", { href: link("prompt", { run: at ? state.second : state.first, stage: state.stage, example: state.example }) }, "Over time"))))));
}
