"use strict";

// What if: what another method, or another option, would have done with the rollouts of a step.

view.pages["what-if"] = async (main, fields) => {
  const state = { run: 0, ...fields };
  const choices = await ask("choices", { run: state.run });
  main.append(heading("What if"), note("What would another method, or the same with another option, have done with the very rollouts of this step? The numbers are those of ", el("code", {}, "groupwise explain METHOD --run RUN --step N --json"), "."));
  if (!choices.stages.length) { main.append(...noSteps("what-if", state)); return; }
  state.stage = choices.stages.includes(state.stage) ? state.stage : choices.stages.at(-1);
  const group = await ask("group", { run: state.run, stage: state.stage, step: state.step, group: state.group ?? 0 });
  state.step = group.step;
  state.group = Number(state.group ?? 0);
  state.method = state.method ?? view.methods[0]?.name ?? "";
  const answer = el("div", { class: "answer", role: "status" });
  const line = el("p", { class: "note" });
  const describe = () => { line.textContent = view.methods.find((one) => one.name === state.method)?.line ?? ""; };
  const options = el("input", { type: "text", value: state.options ?? "", placeholder: "kl.coefficient=0 objective.high=0.28", size: "36", spellcheck: "false" });
  const button = el("button", { type: "submit", class: "primary" }, "Ask");
  const form = el("form", { class: "controls", on: { submit: async (event) => { event.preventDefault(); state.options = options.value.trim(); await ask_(); } } },
    runChoice(state, (run) => go("what-if", { run })),
    choices.stages.length > 1 ? choice("Stage", choices.stages.map((name) => [name, name]), state.stage, (stage) => go("what-if", { ...state, stage, step: "" })) : null,
    choice("Step", group.steps.map((step) => [step, step]), state.step, (step) => go("what-if", { ...state, step })),
    choice("Group", Array.from({ length: group.groups }, (_, at) => [at, at]), state.group, (number_) => go("what-if", { ...state, group: number_ })),
    choice("Method", view.methods.map((one) => [one.name, one.name]), state.method, (method) => { state.method = method; describe(); }),
    el("label", { class: "field wide" }, el("span", {}, "Options"), options), button);
  const ask_ = async () => {
    remember("what-if", state);
    fill(answer, note("Computing … the first answer takes some seconds, later ones less."));
    button.disabled = true;
    try {
      const found = await ask("what-if", { run: state.run, stage: state.stage, step: state.step, method: state.method, options: state.options });
      fill(answer, ...compared(found, group, state));
    } catch (error) {
      fill(answer, el("p", { class: "warn" }, error.message));
    }
    button.disabled = false;
  };
  main.append(form, line, answer);
  describe();
  if (fields.method) ask_();
};

/** The other's numbers by row of the ledger. */
function byRow(found) {
  const known = new Map();
  found.rows.forEach((rows, at) => rows.forEach((row, place) => known.set(row, found.groups[at][place])));
  return known;
}

function compared(found, group, state) {
  const other = byRow(found);
  const pairs = group.rollouts.map((rollout) => [rollout, other.get(rollout.row) ?? null]);
  const own = pairs.flatMap(([rollout]) => rollout.numbers.coefficients ?? []);
  const theirs = pairs.flatMap(([rollout, tokens]) => (rollout.numbers.coefficients ?? []).map((_, at) => tokens?.coefficients[at] ?? 0));
  const dot = sum(own.map((value, at) => (value ?? 0) * theirs[at]));
  const size = Math.sqrt(sum(own.map((value) => (value ?? 0) ** 2)) * sum(theirs.map((value) => value ** 2)));
  const active = own.map((value, at) => at).filter((at) => own[at] && theirs[at]);
  const opposed = active.length ? active.filter((at) => Math.sign(own[at]) !== Math.sign(theirs[at])).length / active.length : null;
  const clipped = sum(pairs.map(([, tokens]) => (tokens ? tokens.clipped.filter(Boolean).length : 0)));
  const facts = [
    ["Objective J of the whole step", number(found.objective, 8)],
    ["Cosine with the run's own gradient, in this group", size ? number(dot / size, 4) : "–"],
    ["Tokens pushed the other way", opposed === null ? "–" : share(opposed)],
    ["Largest coefficient: the run, the other method", `${number(Math.max(...own.map((value) => Math.abs(value ?? 0)), 0), 3)}, ${number(Math.max(...theirs.map(Math.abs), 0), 3)}; colours are to each one's own scale`],
    ["Tokens held by a clip, in this group", String(clipped)],
    ["Rollouts of this group that it leaves out", String(pairs.filter(([, tokens]) => !tokens).length)],
  ];
  const readout = el("output", { class: "readout" }, "Point at a token, or step through with the arrow keys, to read its numbers.");
  const read = (rollout, at) => fill(readout, ...tokenLine(rollout, at).flat());
  const largest = [Math.max(...own.map((value) => Math.abs(value ?? 0)), 0), Math.max(...theirs.map(Math.abs), 0)];
  const shown = distinct(sorted(pairs.map(([rollout, tokens]) => ({ ...rollout, numbers: { ...rollout.numbers, ...(tokens ? { other: tokens.coefficients } : {}) } })), ""));
  const cards = shown.map(([rollout, count]) => {
    const tokens = other.get(rollout.row);
    const mine = tokenText(rollout, { label: `The run, completion ${rollout.row}`, read }), its = tokenText(rollout, { label: `${state.method}, completion ${rollout.row}`, read });
    paint(mine.children, rollout, "coefficients", largest[0], held(rollout));
    if (tokens) paint(its.children, rollout, "other", largest[1], tokens.clipped);
    return el("article", { class: "card pair" }, el("header", {}, el("span", {}, "reward ", el("b", {}, number(rollout.reward, 3))), count > 1 ? el("span", {}, `×${count} alike`) : null),
      el("div", { class: "two" }, el("div", {}, el("h3", {}, "The run", el("small", {}, `push ${signed(sum(rollout.numbers.coefficients ?? []), 3)}`)), mine),
        el("div", {}, el("h3", {}, state.method, el("small", {}, tokens ? `push ${signed(sum(tokens.coefficients), 3)}` : "left out")), its)));
  });
  return [el("h2", {}, `${state.method} on step ${state.step}`), el("dl", { class: "facts wide" }, facts.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)])), el("div", { class: "token-legend" }, ramp("other", largest[1]), readout), el("div", { class: "cards single" }, cards)];
}

const sum = (values) => values.reduce((total, value) => total + (value ?? 0), 0);
