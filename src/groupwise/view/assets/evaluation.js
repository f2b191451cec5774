"use strict";

// Evaluation: before and after on held-out problems, disagreements first.

const KINDS = { lost: "lost: right before, wrong now", gained: "gained: wrong before, right now", wrong: "wrong", right: "right" };

view.pages.evaluation = async (main, fields) => {
  const state = { run: 0, ...fields };
  const found = await ask("evaluation", { run: state.run });
  main.append(heading("Evaluation", view.runs.length > 1 ? runChoice(state, (run) => go("evaluation", { run })) : null));
  const { result: said } = view.runs[state.run];
  main.append(...nodes([result(said)]));
  evaluationBody(main, found, state);
};

/** Measures, benchmarks and problems, or that there are none. */
function evaluationBody(main, found, state) {
  if (found.texts.length) main.append(textTable(found.texts));
  if (!found.models.length && !found.scorers.length && !found.texts.length) { main.append(note("This run has no evaluation on held-out problems yet.")); return; }
  if (found.models.length) {
    main.append(measures(found));
    if (found.comparison?.sentence) main.append(el("p", { class: "lead" }, found.comparison.sentence));
    main.append(...nodes([byK(found)]));
    if (Object.keys(found.models.at(-1).sets).length > 1) main.append(bySet(found));
    problems(main, found, state);
  }
  for (const scorer of found.scorers) main.append(...scorerTables(scorer));
}

/** pass@k and maj@k over k, of the first model and the last; nothing where one sample was drawn. */
function byK(found) {
  const models = found.models.length > 1 ? [found.models[0], found.models.at(-1)] : found.models;
  const curves = models.flatMap((model, at) => ["pass", "maj"].map((kind, which) => {
    const own = model.measures.filter((one) => one.name.startsWith(`${kind}@`)).map((one) => [Number(one.name.split("@")[1]), one.value]);
    return own.length > 1 ? { label: `${kind}@k ${model.moment}`, run: 2 * at + which, x: own.map(([k]) => Math.log2(k)), y: own.map(([, value]) => value) } : null;
  })).filter(Boolean);
  return curves.length ? el("div", { class: "charts wide" }, chart(models.length > 1 ? "Did training raise maj@k, or also pass@k?" : "pass@k and maj@k", { curves, xName: "k", note: "share of problems", points: true, xWords: (x) => String(Math.round(2 ** x)) })) : null;
}

/** Bits per byte on held-out documents: fewer are better. */
function textTable(rows) {
  const change = (one) => (one ? [el("b", { class: one.high < 0 ? "up" : one.low > 0 ? "down" : "" }, `${one.value < 0 ? "▼ " : one.value > 0 ? "▲ " : ""}${signed(one.value)}`), " ", el("small", {}, `${signed(one.low)} to ${signed(one.high)}`)] : "–");
  return table(`Held-out text, ${counted(rows[0].documents, "document")} of ${counted(rows[0].bytes, "byte")}: bits per byte, fewer are better`, ["Model", { title: "Bits per byte", number: true }, { title: "95 % interval", number: true }, { title: "Difference from the first, paired", number: true }],
    rows.map((row) => [row.moment, el("b", {}, number(row.value)), `${number(row.low)} – ${number(row.high)}`, change(row.difference)]));
}

/** What a scorer measures on held-out data beside guessing, and whether its chances come true. */
function scorerTables({ stage, evaluation: found }) {
  const baselines = Object.entries(found.baselines ?? {});
  const heads = ["Measure", { title: "Held-out", number: true }, { title: "95 % interval", number: true }, ...baselines.map(([name]) => ({ title: name, number: true }))];
  const rows = Object.entries(found.measures ?? {}).map(([name, one]) => [name.replaceAll("_", " "), el("b", {}, number(one.value, 3)), `${number(one.low, 3)} – ${number(one.high, 3)}`, ...baselines.map(([, said]) => number(said[name], 3))]);
  const told = [...Object.entries(found.counts ?? {}).map(([name, count]) => `${number(count)} ${name}`), ...Object.entries(found.numbers ?? {}).map(([name, value]) => `${name.replaceAll("_", " ")} ${number(value, 3)}`)];
  const bins = (found.reliability ?? []).map((row) => [`${row.low.toFixed(2)} to ${row.high.toFixed(2)}`, number(row.count), number(row.predicted, 3), number(row.observed, 3)]);
  return [table(`Scorer of ${stage}`, heads, rows), note(told.join(" · ")), el("details", {}, el("summary", {}, `Do its chances come true? ${counted(bins.length, "bin")}`), table(`Predicted chances of ${stage} and what came true`, ["Predicted chance", { title: "Predictions", number: true }, { title: "Mean", number: true }, { title: "Came true", number: true }], bins, { quiet: true }))];
}

function measures(found) {
  const names = [...new Set(found.models.flatMap((model) => model.measures.map((one) => one.name)))];
  const differences = { "greedy accuracy": found.comparison?.greedy, "pass@1": found.comparison?.pass_at_1 };
  for (const [kind, title] of [["pass_at", "pass@"], ["maj_at", "maj@"]])
    for (const [k, interval] of Object.entries(found.comparison?.[kind] ?? {})) differences[`${title}${k}`] ??= interval;
  const cell = (one) => (one ? [el("b", {}, share(one.value)), " ", el("small", {}, `${(100 * one.low).toFixed(1)} – ${(100 * one.high).toFixed(1)}`)] : "–");
  const change = (one) => {
    if (!one) return "–";
    const points = inPoints(one.value);
    const sure = one.low > 0 ? "up" : one.high < 0 ? "down" : "";
    return [el("b", { class: sure }, `${points === "0.0" ? "" : one.value > 0 ? "▲ " : "▼ "}${points}`), " ", el("small", {}, `${inPoints(one.low)} to ${inPoints(one.high)}`)];
  };
  const heads = ["Measure", ...found.models.map((model) => ({ title: model.moment, number: true })), ...(found.comparison ? [{ title: "Paired difference, points", number: true }] : [])];
  return table(`Held-out results with 95 % intervals, ${counted(found.models.at(-1).problems, "problem")}${found.models.at(-1).judge ? `, judged by ${found.models.at(-1).judge}` : ""}`, heads,
    names.map((name) => [name, ...found.models.map((model) => cell(model.measures.find((one) => one.name === name))), ...(found.comparison ? [change(differences[name])] : [])]));
}

function bySet(found) {
  const sets = Object.keys(found.models.at(-1).sets);
  return table("By benchmark: greedy accuracy and pass@1", ["Benchmark", { title: "Problems", number: true }, ...found.models.flatMap((model) => [{ title: `greedy ${model.moment}`, number: true }, { title: `pass@1 ${model.moment}`, number: true }])],
    sets.map((name) => [name, found.models.at(-1).sets[name].problems, ...found.models.flatMap((model) => [share(model.sets[name]?.greedy), share(model.sets[name]?.pass_at_1)])]));
}

/** A square a problem, and the answers that were kept, disagreements first. */
function problems(main, found, state) {
  const counts = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, found.problems.filter((row) => row.kind === kind).length]));
  const chosen = { kind: state.kind ?? "", set: state.set ?? "" };
  const grid = el("div", { class: "grid-of-problems", role: "img", "aria-label": Object.entries(counts).map(([kind, count]) => `${count} ${kind}`).join(", ") }, found.problems.slice(0, 2000).map((row) => el("i", { class: row.kind, title: `${row.id}: ${KINDS[row.kind]}` })));
  const list = el("div");
  const draw = () => {
    remember("evaluation", { run: state.run, ...chosen });
    const rows = found.problems.filter((row) => (!chosen.kind || row.kind === chosen.kind) && (!chosen.set || row.set === chosen.set));
    const verdict = (one) => (one ? `${one.greedy === null ? "" : one.greedy > 0 ? "✓ right" : "✗ wrong"}, pass@1 ${share(one.pass_at_1, 0)}` : "–");
    const answer = (one) => (one ? [el("small", {}, verdict(one)), one.text === undefined ? null : says(one.text, "small")] : "–");
    const kind = (row) => el("span", { class: `kind ${row.kind}` }, row.kind);
    const read = rows.filter((row) => row.after.text !== undefined), heads = ["Problem", "What became of it", "Before", "After"];
    const long = el("details", {}, el("summary", {}, `All ${counted(rows.length, "problem")}, without their answers`));
    long.addEventListener("toggle", () => {
      if (long.open && long.children.length === 1) long.append(table("All problems, disagreements first", heads, rows.slice(0, 2000).map((row) => [el("code", {}, visible(row.id)), kind(row), verdict(row.before), verdict(row.after)]), { class: "plain", quiet: true }));
    });
    fill(list, read.length ? table("Greedy answers that were kept, disagreements first", heads, read.slice(0, 100).map((row) => [
      [el("code", {}, visible(row.id)), row.after.question ? says(row.after.question, "small") : null], kind(row), answer(row.before), answer(row.after)]), { class: "texts", quiet: true }) : note("No answer of these was kept."), long);
  };
  main.append(el("h2", {}, "Problem by problem"), el("p", { class: "legend" }, Object.entries(KINDS).map(([kind, words]) => (counts[kind] ? el("span", {}, el("i", { class: `square ${kind}` }), `${counts[kind]} ${words}`) : null))), grid,
    el("div", { class: "controls" }, choice("Show", [["", "all, disagreements first"], ...Object.keys(KINDS).map((kind) => [kind, `${kind} (${counts[kind]})`])], chosen.kind, (kind) => { chosen.kind = kind; draw(); }),
      found.sets.length > 1 ? choice("Benchmark", [["", "all"], ...found.sets.map((name) => [name, name])], chosen.set, (set) => { chosen.set = set; draw(); }) : null), list);
  draw();
}
