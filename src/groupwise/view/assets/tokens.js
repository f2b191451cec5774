"use strict";

// Tokens as text, each painted by a number: blue and a solid line for above zero, red and a dashed line for below.

const MEASURES = {
  coefficients: { title: "Coefficient", note: "∂J/∂log π: how much the update wants this token likelier (blue) or less likely (red)", signed: true },
  advantages: { title: "Advantage", note: "how much better than expected the token is held to be", signed: true },
  ratio: { title: "Ratio", note: "log of π_θ over the policy that drew: 0 where nothing has moved", signed: true, from: (n) => (n.old_logprobs ? n.logprobs?.map((p, i) => minus(p, n.old_logprobs[i])) : null) },
  kl: { title: "KL", note: "log π_θ − log π_ref of the token, nats: blue where the policy likes it more than the reference", signed: true, from: (n) => (n.reference_logprobs ? n.logprobs?.map((p, i) => minus(p, n.reference_logprobs[i])) : null) },
  entropy: { title: "Entropy", note: "nats of the distribution that the token was drawn from", signed: false },
  gap: { title: "Sampler − learner", note: "log-probability that the sampler reported minus the learner's", signed: true, from: (n) => (n.behavior_logprobs ? n.logprobs?.map((p, i) => minus(n.behavior_logprobs[i], p)) : null) },
  surprise: { title: "Surprise", note: "−log π of the token, nats", signed: false, from: (n) => n.logprobs?.map((p) => (p === null ? null : -p)) },
  values: { title: "Value", note: "what the critic expects", signed: true },
  other: { title: "Other method", note: "∂J/∂log π of the other method", signed: true },
};

const minus = (a, b) => (a === null || b === null || a === undefined || b === undefined ? null : a - b);

/** The values of a measure of one rollout; null where it has none. */
function measured(rollout, measure) {
  const { from } = MEASURES[measure];
  return (from ? from(rollout.numbers) : rollout.numbers[measure]) ?? null;
}

/** The largest size of a measure over rollouts; a colour at full strength. The highest hundredth shares it. */
function strongest(rollouts, measure) {
  const sizes = rollouts.flatMap((rollout) => (measured(rollout, measure) ?? []).filter((value, at) => value !== null && rollout.mask[at]).map(Math.abs)).sort((a, b) => a - b);
  return sizes.length ? sizes[Math.min(sizes.length - 1, Math.floor(0.99 * sizes.length))] || sizes.at(-1) : 0;
}

/** A completion's tokens; ``part`` are those of one turn. The arrow keys go from one to the next. */
function tokenText(rollout, { begin = 0, end = rollout.pieces.length, label, read }) {
  const special = new Set(rollout.special);
  const made = el("p", { class: "tokens", tabindex: "0", role: "group", "aria-label": label, dir: "ltr" });
  for (let at = begin; at < end; at += 1) {
    const piece = rollout.pieces[at];
    const token = el("span", { class: `token${rollout.mask[at] ? "" : " heard"}${special.has(at) ? " special" : ""}` }, piece === "" ? "·" : visible(piece.replaceAll("\n", "↵\n")));
    token.place = at;
    made.append(token);
  }
  let current = -1;
  const show = (place) => {
    made.children[current]?.classList.remove("on");
    current = place;
    made.children[current]?.classList.add("on");
    if (made.children[current]) read(rollout, begin + current);
  };
  made.addEventListener("pointerover", (event) => { const token = event.target.closest(".token"); if (token) show(token.place - begin); });
  made.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1, Home: -1e9, End: 1e9 }[event.key];
    if (!by) return;
    event.preventDefault();
    show(Math.max(0, Math.min(made.children.length - 1, current + by)));
  });
  return made;
}

/** Paints all tokens under ``root`` that belong to ``rollout``. */
function paint(elements, rollout, measure, largest, clipped) {
  const values = measured(rollout, measure);
  for (const token of elements) {
    const value = values?.[token.place] ?? null;
    const strength = value === null || !largest ? 0 : Math.min(1, Math.abs(value) / largest);
    const way = strength < 0.004 || !rollout.mask[token.place] ? "" : !MEASURES[measure].signed ? "much" : value > 0 ? "up" : "down";
    token.classList.remove("up", "down", "much");
    if (way) token.classList.add(way);
    token.style.setProperty("--a", way ? strength.toFixed(3) : "0");
    token.classList.toggle("clipped", Boolean(clipped?.[token.place]));
  }
}

/** Where the update holds a token flat although its advantage is none: clipped, or filtered out. */
function held(rollout) {
  const { coefficients: c, advantages: a } = rollout.numbers;
  if (!c || !a) return null;
  return c.map((value, at) => Boolean(rollout.mask[at] && value === 0 && a[at]));
}

/** Every number of one token, in a line. */
function tokenLine(rollout, at) {
  const parts = Object.entries(MEASURES).filter(([name]) => name !== "surprise" && measured(rollout, name)).map(([name, { title, signed: isSigned }]) => `${title} ${(isSigned ? signed : number)(measured(rollout, name)[at], 3)}`);
  const p = rollout.numbers.logprobs?.[at];
  if (p !== null && p !== undefined) parts.unshift(`probability ${number(Math.exp(p), 3)}`);
  if (held(rollout)?.[at]) parts.push("held flat by a clip or a filter");
  if (!rollout.mask[at]) parts.unshift("not sampled: the policy is not trained on it");
  return [el("b", {}, visible(JSON.stringify(rollout.pieces[at]))), ` token ${at} · ${parts.join(" · ")}`];
}
