"use strict";

// One group: the completions of a prompt side by side, every token painted.

view.pages.group = async (main, fields, page) => {
  const state = { run: 0, ...fields };
  const found = await ask("group", { run: state.run, stage: state.stage, step: state.step, group: state.group ?? 0, tokens: state.tokens });
  const body = groupBody(found, state, (painted) => remember("group", { ...state, paint: painted }));
  main.append(heading(`Group ${state.group ?? 0}, step ${found.step}`, el("span", { class: "muted" }, `${runName(Number(state.run))}, ${found.stage}`)), steps(found, state), ...body);
};

/** Prompt, colours and completions of a group; ``painted`` hears of another measure. */
function groupBody(found, state, painted) {
  const measures = Object.keys(MEASURES).filter((name) => name !== "other" && found.rollouts.some((rollout) => measured(rollout, name)));
  state.paint = measures.includes(state.paint) ? state.paint : measures[0];
  const readout = el("output", { class: "readout" }, "Point at a token, or step through with the arrow keys, to read its numbers.");
  const legend = el("div", { class: "token-legend" });
  const read = (rollout, at) => fill(readout, tokenLine(rollout, at).flat());
  const made = distinct(sorted(found.rollouts, state.row)).map(([rollout, count]) => completion(rollout, count, read, String(rollout.row) === state.row, state, found));
  const repaint = () => {
    const largest = strongest(found.rollouts, state.paint);
    for (const card of made) paint(card.querySelectorAll(".token"), card.rollout, state.paint, largest, held(card.rollout));
    fill(legend, ramp(state.paint, largest), readout);
  };
  const controls = el("div", { class: "controls" }, buttons("Paint tokens by", measures.map((name) => [name, MEASURES[name].title]), state.paint, (name) => { state.paint = name; repaint(); painted(name); }));
  if (measures.length) repaint();
  return nodes([asked(found), measures.length > 1 ? controls : null, measures.length ? legend : null, el("div", { class: found.opening.length ? "cards talks" : "cards" }, made),
    found.members > found.rollouts.length ? note(`The first ${found.rollouts.length} of ${counted(found.members, "completion")} are shown.`) : null]);
}

/** The best first; the one that was asked for before all. */
function sorted(rollouts, row) {
  return [...rollouts].sort((a, b) => (String(b.row) === row) - (String(a.row) === row) || (b.reward ?? -Infinity) - (a.reward ?? -Infinity));
}

/** Completions that are alike are shown once, with their number. */
function distinct(rollouts) {
  const known = new Map();
  for (const rollout of rollouts) {
    const key = JSON.stringify([rollout.pieces, rollout.reward, rollout.parts, rollout.stop, rollout.finished, rollout.extras, rollout.numbers.advantages, rollout.said]);
    if (known.has(key)) known.get(key)[1] += 1;
    else known.set(key, [rollout, 1]);
  }
  return [...known.values()];
}

function steps(found, state) {
  const at = found.steps.indexOf(found.step), group = Number(state.group ?? 0);
  const to = (label, fields, there) => (there ? el("a", { class: "button", href: link("group", { run: state.run, stage: found.stage, paint: state.paint, ...fields }) }, label) : null);
  let back = null;
  if (state.from) {
    try { back = el("a", { class: "button", href: link("rollouts", JSON.parse(state.from)) }, "← Rollouts"); } catch { back = null; }
  }
  return el("p", { class: "bar links" }, back,
    to("← Group", { step: found.step, group: group - 1 }, group > 0), to("Group →", { step: found.step, group: group + 1 }, group + 1 < found.groups),
    to("← Step", { step: found.steps[at - 1], group }, at > 0), to("Step →", { step: found.steps[at + 1], group }, at >= 0 && at + 1 < found.steps.length),
    el("a", { class: "button", href: link("prompt", { run: state.run, stage: found.stage, example: found.example }) }, "This prompt over time"),
    el("a", { class: "button", href: link("what-if", { run: state.run, stage: found.stage, step: found.step, group }) }, "What if …"));
}

function asked(found) {
  const rewards = found.rollouts.map((rollout) => rollout.reward).filter((reward) => reward !== null);
  const mean = rewards.length ? rewards.reduce((sum, each) => sum + each, 0) / rewards.length : null;
  const opening = found.opening.length ? found.opening.map((part) => heardBubble(part)) : says(found.prompt, "question");
  return el("section", { class: "asked", "aria-label": "Prompt" }, opening,
    note([found.answer ? ["Reference answer: ", el("b", {}, visible(found.answer)), " · "] : null, `${counted(found.members, "completion")}, mean reward ${number(mean, 3)} · example `, el("code", {}, visible(found.example ?? ""))]));
}

function ramp(measure, largest) {
  const { title, note: words, signed: isSigned } = MEASURES[measure];
  const scale = isSigned
    ? [el("span", { class: "token down sample" }, `−${number(largest, 3)}`), el("span", { class: "ramp two", "aria-hidden": "true" }), el("span", { class: "token up sample" }, `+${number(largest, 3)}`)]
    : [el("span", {}, "0"), el("span", { class: "ramp one", "aria-hidden": "true" }), el("span", { class: "token much sample" }, number(largest, 3))];
  return el("div", { class: "scale" }, scale, el("span", { class: "muted" }, `${title}: ${words}`),
    isSigned ? el("span", { class: "muted" }, "above zero underlined, below zero dashed; a box: held flat by a clip or a filter; grey: not sampled") : null);
}

function completion(rollout, count, read, chosen, state, found) {
  const label = `Completion ${rollout.row}, reward ${number(rollout.reward, 3)}`;
  const advantage = rollout.numbers.advantages?.findLast((value, at) => rollout.mask[at]);
  const parts = rollout.parts && Object.keys(rollout.parts).length > 1 ? note(Object.entries(rollout.parts).map(([name, value]) => `${name} ${signed(value, 3)}`).join(" · ")) : null;
  const odd = rollout.statuses ? Object.entries(rollout.statuses).filter(([, status]) => status && status !== "scored").map(([name, status]) => `${name}: ${status}`) : [];
  const verdict = rollout.correct === true ? el("span", { class: "verdict right" }, "right") : rollout.correct === false ? el("span", { class: "verdict wrong" }, "wrong") : null;
  const left = rollout.size - rollout.pieces.length;
  const card = el("article", { class: `card${chosen ? " chosen" : ""}`, "aria-label": label },
    el("header", {}, el("span", {}, "reward ", el("b", {}, number(rollout.reward, 3))), verdict,
      advantage === undefined ? null : el("span", { class: advantage > 0 ? "up" : advantage < 0 ? "down" : "" }, "advantage ", el("b", {}, signed(advantage, 3))),
      el("span", { class: rollout.finished ? "" : "warn" }, rollout.stop ?? (rollout.finished ? "finished" : "truncated")), el("span", {}, counted(rollout.length, "token")),
      count > 1 ? el("span", {}, `×${count} alike`) : null),
    parts, odd.length ? note(el("span", { class: "warn" }, odd.join(" · "))) : null,
    rollout.said?.length ? conversation(rollout, read, label) : tokenText(rollout, { label, read }),
    left > 0 && view.stored ? note(`${counted(left, "more token")}: groupwise view shows them`) : left > 0 ? el("p", {}, el("a", { class: "button", href: link("group", { ...state, step: found.step, stage: found.stage, tokens: 4 * rollout.pieces.length }) }, `${counted(left, "more token")}: show more`)) : null,
    rollout.text !== null && rollout.text !== undefined ? el("details", {}, el("summary", {}, "Text (no tokenizer is at hand for the pieces)"), says(rollout.text)) : null,
    rollout.versions.length > 1 ? note(`drawn by versions ${rollout.versions.map(([version, end]) => `${version} up to token ${end}`).join(", ")}`) : null,
    rollout.extras ? el("details", {}, el("summary", {}, "What the reward said"), says(rollout.extras)) : null);
  card.rollout = rollout;
  return card;
}

function heardBubble(part) {
  return el("div", { class: "bubble heard-bubble" }, el("small", {}, part.tool ? `tool ${part.tool}` : part.role), says(part.text));
}

/** An episode: the model's turns painted, what it heard grey; at each turn's end what it earned. */
function conversation(rollout, read, label) {
  const rewards = new Map(rollout.rewards);
  let turn = 0;
  return el("div", { class: "talk" }, rollout.said.map((part) => {
    if (!part.end) return heardBubble(part);
    turn += 1;
    const end = Math.min(part.end, rollout.pieces.length);
    const earned = rewards.get(part.end - 1), advantage = rollout.numbers.advantages?.[part.end - 1];
    return el("div", { class: "bubble model-bubble" }, tokenText(rollout, { begin: part.begin, end, label: `${label}, turn ${turn}`, read }),
      el("small", {}, `turn ${turn}`, earned === undefined ? null : [" · reward ", el("b", {}, signed(earned, 3))], advantage === undefined ? null : [" · advantage ", el("b", {}, signed(advantage, 3))]));
  }));
}
