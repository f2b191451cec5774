"use strict";

// One prompt over time: its completions at every step that drew it, and what changed between two of them.

view.pages.prompt = async (main, fields) => {
  const state = { run: 0, ...fields };
  const choices = await ask("choices", { run: state.run });
  if (!choices.stages.length) { main.append(heading("Prompt over time"), ...noSteps("prompt", state)); return; }
  state.stage = choices.stages.includes(state.stage) ? state.stage : choices.stages.at(-1);
  const examples = await ask("examples", { run: state.run, stage: state.stage });
  state.example = state.example ?? examples[0]?.example;
  const found = await ask("prompt", { run: state.run, stage: state.stage, example: state.example });
  const change = (fresh) => go("prompt", { run: state.run, stage: state.stage, example: state.example, ...fresh });
  const known = examples.some((one) => one.example === state.example) ? examples : [{ example: state.example, steps: found.steps.length, mean: null }, ...examples];
  main.append(heading("Prompt over time"), el("div", { class: "controls" },
    runChoice(state, (run) => go("prompt", { run })),
    choices.stages.length > 1 ? choice("Stage", choices.stages.map((name) => [name, name]), state.stage, (stage) => change({ stage, example: "" })) : null,
    choice("Prompt, most often drawn first", known.map((one) => [one.example, `${one.example} (${counted(one.steps, "step")}${one.mean === null ? "" : `, mean reward ${number(one.mean, 3)}`})`]), state.example, (example) => change({ example }))));
  if (!found.steps.length) { main.append(note("This prompt was not drawn in this stage.")); return; }
  main.append(el("section", { class: "asked", "aria-label": "Prompt" }, found.prompt ? says(found.prompt, "question") : note("Its row has no prompt: the environment speaks first."), found.answer ? note("Reference answer: ", el("b", {}, visible(found.answer))) : null));
  const mean = (step) => { const known = step.rollouts.map((one) => one.reward).filter((each) => each !== null); return known.length ? known.reduce((sum, each) => sum + each, 0) / known.length : null; };
  if (found.steps.length > 1) {
    const drawn = found.steps.map((step) => [step.step, mean(step), step.rollouts.reduce((sum, one) => sum + one.length, 0) / step.rollouts.length]);
    main.append(el("div", { class: "charts" },
      chart("Mean reward", { curves: [{ label: runName(Number(state.run)), run: Number(state.run), x: drawn.map(([x]) => x), y: drawn.map(([, y]) => y) }], sync: "prompt", points: true }),
      chart("Tokens", { curves: [{ label: runName(Number(state.run)), run: Number(state.run), x: drawn.map(([x]) => x), y: drawn.map(([, , y]) => y) }], note: "mean", sync: "prompt", points: true })));
  }
  apart(main, found, state);
  main.append(el("h2", {}, "Every step"), table("Completions by step", [{ title: "Step", number: true }, { title: "Mean reward", number: true }, "Best", "Worst"], [...found.steps].reverse().map((step) => {
    const order = [...step.rollouts].sort((a, b) => (b.reward ?? -Infinity) - (a.reward ?? -Infinity));
    return [el("a", { href: link("group", { run: state.run, stage: state.stage, step: step.step, group: step.group }) }, String(step.step)), number(mean(step), 3), said(order[0]), order.length > 1 ? said(order.at(-1)) : "–"];
  }), { class: "texts", quiet: true }));
};

function said(rollout) {
  return [el("small", {}, `reward ${number(rollout.reward, 3)}`), el("p", { class: "says small", dir: "ltr" }, oneLine(rollout.text, 300))];
}

/** Two completions beside each other, of two steps that can be chosen. */
function apart(main, found, state) {
  const chosen = { old: state.old ?? String(found.steps[0].step), new: state.new ?? String(found.steps.at(-1).step), which: state.which ?? "best" };
  const body = el("div", { class: "two" });
  const alone = found.steps.length === 1;
  const single = alone && found.steps[0].rollouts.length === 1;
  const pick = (step, which) => {
    const own = found.steps.find((one) => String(one.step) === chosen[step]) ?? found.steps[0];
    const order = [...own.rollouts].sort((a, b) => (b.reward ?? -Infinity) - (a.reward ?? -Infinity));
    return [own, which === "best" ? order[0] : which === "worst" ? order.at(-1) : order[Math.floor(order.length / 2)]];
  };
  const draw = () => {
    remember("prompt", { run: state.run, stage: state.stage, example: state.example, ...chosen });
    const [[before, a], [after, b]] = alone ? ["best", "worst"].map((which) => pick("old", which)) : [pick("old", chosen.which), pick("new", chosen.which)];
    const [left, right] = sideBySide(a.text, b.text);
    fill(body,
      el("div", {}, el("h3", {}, `Step ${before.step}`, el("small", {}, `reward ${number(a.reward, 3)}, ${counted(a.length, "token")}`)), left),
      single ? "" : el("div", {}, el("h3", {}, `Step ${after.step}`, el("small", {}, `reward ${number(b.reward, 3)}, ${counted(b.length, "token")}`)), right));
  };
  const steps = found.steps.map((one) => [one.step, `step ${one.step}`]);
  const set = (name) => (value) => { chosen[name] = value; draw(); };
  main.append(el("h2", {}, single ? "Its answer" : alone ? "Its best and its worst answer" : "Then and now"), alone ? "" : el("div", { class: "controls" }, choice("Then", steps, chosen.old, set("old")), choice("Now", steps, chosen.new, set("new")),
    choice("Of each", [["best", "the best"], ["middle", "the middle one"], ["worst", "the worst"]], chosen.which, set("which"))), body,
  single ? "" : note("Struck through: only in the first. Underlined: only in the second."));
  draw();
}
