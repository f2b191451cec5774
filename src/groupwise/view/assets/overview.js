"use strict";

// Overview: how far each run is and what it found; a dozen curves, the others behind a search; alarms.

const TOGETHER = [["last", "last of each"], ["all", "all stages"]];
const AXES = [["step", "Steps"], ["samples", "Samples"], ["tokens", "Tokens"], ["seconds", "Seconds"]];

view.pages.overview = async (main, fields, page) => {
  const { cards, curves, alarms } = await overviewParts(fields, page);
  main.append(heading(view.runs.length > 1 ? counted(view.runs.length, "run") : runName(0)), cards, ...curves, alarms);
};

/** Cards, curves and alarms; ``page.changed`` brings them up to date. */
async function overviewParts(fields, page) {
  const found = await Promise.all(view.runs.map((_, at) => ask("curves", { run: at })));
  const state = { axis: fields.axis ?? "step", stage: fields.stage ?? newestStage(found), like: fields.like ?? "", found };
  const stages = [...new Set(found.flatMap((one) => one.stage))];
  if (!stages.includes(state.stage) && !TOGETHER.some(([key]) => key === state.stage)) state.stage = newestStage(found);
  const cards = el("div", { class: "run-cards" }), figures = el("div", { class: "charts" }), more = el("div", { class: "charts" });
  const alarms = el("section", { "aria-label": "What the doctor said" });
  const keep = () => remember("overview", { axis: state.axis === "step" ? "" : state.axis, stage: state.stage, like: state.like });
  const redraw = () => { keep(); drawCurves(state, figures, more); };
  const search = el("input", { type: "search", value: state.like, placeholder: "entropy, reward, seconds …", on: { input: later(150, (event) => { state.like = event.target.value; redraw(); }) } });
  const others = el("details", { class: "others", open: state.like !== "" }, el("summary", {}, "All other metrics"), el("label", { class: "field" }, el("span", {}, "Find a metric"), search), more);
  others.addEventListener("toggle", redraw);

  const drawAbout = () => {
    fill(cards, ...view.runs.map((run, at) => card(run, at)));
    fill(alarms, ...alarmTable());
  };
  const controls = el("div", { class: "controls" },
    stages.length > 1 ? buttons("Stage", [...(view.runs.length > 1 ? TOGETHER.slice(0, 1) : []), ...stages.map((name) => [name, name]), ...TOGETHER.slice(1)], state.stage, (stage) => { state.stage = stage; redraw(); }) : null,
    buttons("Horizontal axis", AXES, state.axis, (axis) => { state.axis = axis; redraw(); }));
  state.others = others;
  drawAbout();
  if (stages.length) redraw();
  else figures.append(note("No step is finished yet. Curves appear here as they are written."));

  page.changed = async (events) => {
    for (const event of events) {
      if (event.again) state.found[event.run] = await ask("curves", { run: event.run });
      else if (event.rows) state.found[event.run] = extended(state.found[event.run], await ask("curves", { run: event.run, after: state.found[event.run].bucket === 1 ? state.found[event.run].rows : 0 }));
    }
    if (events.some((event) => event.rows || event.again)) {
      if (!stages.length) { view.draw(); return; }
      drawCurves(state, figures, more);
    }
    drawAbout();
  };
  return { cards, curves: [el("h2", {}, "Curves"), controls, figures, others], alarms };
}

/** The stage that every run is in; runs of several methods, whose stages have other names, are laid over one another by their last. */
function newestStage(found) {
  const newest = [...new Set(found.map((one) => one.stage.at(-1)).filter((name) => name))];
  return newest.length > 1 ? "last" : newest[0] ?? "all";
}

/** Adds the points of a later answer to those that are there. */
function extended(known, fresh) {
  if (fresh.bucket !== 1 || known.bucket !== 1 || fresh.after !== known.rows) return fresh;
  const added = fresh.step.length;
  const columns = {};
  for (const name of new Set([...Object.keys(known.metrics), ...Object.keys(fresh.metrics)]))
    columns[name] = [...(known.metrics[name] ?? new Array(known.step.length).fill(null)), ...(fresh.metrics[name] ?? new Array(added).fill(null))];
  const axes = Object.fromEntries(Object.keys(known.axes).map((name) => [name, [...known.axes[name], ...fresh.axes[name]]]));
  return { ...fresh, stage: [...known.stage, ...fresh.stage], step: [...known.step, ...fresh.step], axes, metrics: columns };
}

/** Where the rows of a stage stand on the axis that is chosen; ``last`` is the newest of the run, and of all stages one stands behind the other. */
function along(found, stage, axis) {
  const xs = found.axes[`axis:${axis}`];
  const own = stage === "last" ? found.stage.at(-1) : stage;
  const kept = found.stage.map((name, at) => at).filter((at) => stage === "all" || found.stage[at] === own);
  let base = 0, last = 0, name = null;
  return { places: kept, x: kept.map((at) => {
    if (name !== null && found.stage[at] !== name) base += last;
    name = found.stage[at];
    last = xs[at] ?? last;
    return base + last;
  }) };
}

function curvesOf(state, metric) {
  return state.found.map((found, run) => {
    const values = found.metrics[metric];
    if (!values) return null;
    const { places, x } = along(found, state.stage, state.axis);
    const known = places.map((at, place) => [x[place], values[at]]).filter(([, value]) => value !== null && value !== undefined);
    return known.length ? { label: runName(run), run, x: known.map(([each]) => each), y: known.map(([, each]) => each), sparse: known.length < 0.6 * places.length } : null;
  }).filter((curve) => curve);
}

function marksOf(state) {
  return state.found.flatMap((found, run) => {
    const { places, x } = along(found, state.stage, state.axis);
    const at = new Map(places.map((each, place) => [`${found.stage[each]} ${found.step[each]}`, x[place]]));
    const mark = (kind) => (row) => ({ kind, x: at.get(`${row.stage} ${row.step}`) ?? null });
    return [...view.runs[run].alarms.map(mark("alarm")), ...view.runs[run].resumed.map(mark("resumed"))].filter((one) => one.x !== null);
  });
}

const PHASES = [["sample", "sampling"], ["reward", "reward"], ["train", "training"], ["other", "other"]];
const IDLE = new Set(["kl", "completions/clipped_ratio", "clip_ratio/high_mean", "engine_learner_gap", "staleness/mean", "tools/calls"]);

/** The curated curves that say anything here, and the others that the search finds. */
function drawCurves(state, figures, more) {
  const marks = marksOf(state);
  const says = (name) => { const own = curvesOf(state, name); return own.length && !(IDLE.has(name) && own.every((curve) => curve.y.every((value) => value === 0))) ? own : null; };
  const rewards = [...new Set(state.found.flatMap((found) => Object.keys(found.metrics)))].filter((name) => /^rewards\/.+\/mean$/.test(name));
  const curated = view.curated.flatMap((one) => (one.name === "reward" && rewards.length > 1 ? [one, ...rewards.map((name) => ({ name, title: `Reward: ${name.slice(8, -5)}`, note: "mean, before its weight" }))] : [one]));
  const kept = curated.map((one) => [one, says(one.name)]).filter(([one, own]) => own && !(one.name === "loss" && says("reward"))).slice(0, 12);
  const wanted = kept.map(([one, own]) => ({ key: one.name, title: one.title, note: one.note, curves: own }));
  const phases = view.runs.length === 1 ? PHASES.flatMap(([name, label], at) => curvesOf(state, `seconds/${name}`).map((curve) => ({ ...curve, label, run: at }))) : [];
  if (phases.length > 1) wanted.push({ key: "phases", title: "Time by phase", note: "seconds a step", curves: phases });
  update(figures, wanted, state, marks);
  if (!state.others.open) return;
  const taken = new Set(kept.map(([one]) => one.name));
  const rest = [...new Set(state.found.flatMap((found) => Object.keys(found.metrics)))].filter((name) => !taken.has(name) && name.toLowerCase().includes(state.like.toLowerCase())).sort();
  update(more, rest.slice(0, 24).map((name) => ({ key: name, title: name, note: "", curves: curvesOf(state, name) })).filter((one) => one.curves.length), state, marks);
  if (rest.length > 24) more.append(note(`and ${counted(rest.length - 24, "more metric")}: find them by their names`));
}

/** Draws charts anew only where there are others than before. */
function update(into, wanted, state, marks) {
  const look = JSON.stringify([wanted.map((one) => [one.key, one.curves.map((curve) => curve.run)]), state.axis]);
  if (into.look === look) {
    wanted.forEach((one, at) => into.children[at].update(one.curves, marks));
    return;
  }
  into.look = look;
  fill(into, ...wanted.map((one) => chart(one.title, { curves: one.curves, marks, note: one.note, xName: AXES.find(([key]) => key === state.axis)[1].toLowerCase(), sync: "overview" })));
}

const STATUS = { running: "running", finished: "finished", stopped: "stopped before its end", empty: "not begun" };

function card(run, at) {
  const total = run.stages.reduce((sum, stage) => sum + stage.steps, 0), done = run.stages.reduce((sum, stage) => sum + Math.min(stage.done, stage.steps), 0);
  const facts = [
    ["Speed", run.pace ? `${duration(run.pace)} a step${run.speed.sample ? `, ${number(Math.round(run.speed.sample))} tokens/s sampled` : ""}` : null],
    ["Left", run.left === null ? null : `about ${duration(run.left)} of this stage`],
    ["Took", run.seconds === null || run.seconds === undefined ? null : duration(run.seconds)],
    ...run.facts,
  ].filter(([, text]) => text);
  return el("article", { class: "run-card", "aria-label": `Run ${runName(at)}` },
    el("header", {}, el("i", { class: `key run-${at % 6}`, "aria-hidden": "true" }), el("h2", {}, runName(at)), el("span", { class: `status ${run.status}` }, STATUS[run.status])),
    result(run.result),
    el("div", { class: "stages" }, run.stages.map((stage) => el("div", { class: "stage" },
      el("span", {}, stage.name), el("progress", { max: Math.max(1, stage.steps), value: Math.min(stage.done, stage.steps), "aria-label": `${stage.name}: ${stage.done} of ${stage.steps} steps` }), el("span", { class: "muted" }, `${stage.done.toLocaleString("en")} of ${stage.steps.toLocaleString("en")}`)))),
    el("dl", { class: "facts" }, facts.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, oneLine(text, 400))])),
    pastOf(run),
    el("details", {}, el("summary", {}, "Resolved recipe"), el("pre", { tabindex: "0" }, run.recipe)));
}

/** The result first: what was gained or lost, as loudly. */
function result(found) {
  if (!found) return null;
  if (found.only) return el("p", { class: "result" }, el("b", {}, share(found.after.value)), el("span", {}, ` held-out ${found.measure} ${found.moments[1]}, ${counted(found.problems, "problem")}`));
  const change = found.after.value - found.before.value;
  const sure = found.difference && (found.difference.low > 0 || found.difference.high < 0);
  const way = change > 0 ? "up" : change < 0 ? "down" : "level";
  const points = change ? `${change > 0 ? "rose" : "fell"} by ${number(Math.abs(100 * change), 3)} points` : "stayed as it was";
  const interval = found.difference ? ` (95 %: ${signed(100 * found.difference.low, 3)} to ${signed(100 * found.difference.high, 3)})` : "";
  const doubt = found.difference && !sure ? "; a difference of this size can be chance" : "";
  return el("div", { class: `result ${way}` },
    el("p", { class: "figure" }, el("span", { class: "was" }, share(found.before.value)), el("span", { class: "arrow", "aria-label": "to" }, way === "up" ? "↗" : way === "down" ? "↘" : "→"), el("b", {}, share(found.after.value))),
    el("p", {}, `Held-out ${found.measure} ${points}${interval} on ${counted(found.problems, "problem")}${doubt}.`));
}

function pastOf(run) {
  const said = [
    ...run.resumed.map((one) => `continued at step ${one.step} of ${one.stage}${one.time ? `, ${moment(one.time)}` : ""}`),
    ...run.changes.map((one) => `changed: ${(one.options ?? []).join(", ")}`),
  ];
  if (run.status === "stopped") said.push("no process is at work here, and the run is not finished: it was stopped or killed; the same command continues it");
  return said.length ? el("ul", { class: "history" }, said.map((text) => el("li", {}, text))) : null;
}

function alarmTable() {
  const rows = view.runs.flatMap((run, at) => run.alarms.map((row) => ({ cells: [row.alarm, ...(view.runs.length > 1 ? [runName(at)] : []), row.stage, el("a", { href: link("rollouts", { run: at, stage: row.stage, first: row.step, last: row.step }) }, String(row.step)), row.sentence] })));
  if (!rows.length) return [el("h2", {}, "Alarms"), note("None was raised.")];
  const heads = ["Alarm", ...(view.runs.length > 1 ? ["Run"] : []), "Stage", { title: "Step", number: true }, "What was seen"];
  return [el("h2", {}, "Alarms"), note("▼ marks them on every curve; two bars mark where a run was continued."), table("Alarms", heads, rows, { quiet: true })];
}
