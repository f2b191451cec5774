"use strict";

// Rollouts: every completion of a run, found by its numbers and its words.

const ORDERS = [["newest", "Newest"], ["high:reward", "Best reward"], ["low:reward", "Worst reward"], ["high:push", "Pushed up most"], ["low:push", "Pushed down most"], ["high:size", "Pushed most, either way"],
  ["high:length", "Longest"], ["low:length", "Shortest"], ["high:kl", "Furthest from the reference"], ["high:surprise", "Most surprising"], ["high:entropy", "Least certain"], ["high:gap", "Sampler and learner apart"], ["oldest", "Oldest"]];
const PAGE = 40;

view.pages.rollouts = async (main, fields, page) => {
  const state = { run: 0, ...fields };
  const found = await ask("choices", { run: state.run });
  const list = el("tbody"), count = el("p", { class: "count", role: "status" }), more = el("button", { type: "button", class: "more" }, "Show more");
  const run = { asked: 0, offset: 0 };

  const load = async (from) => {
    const mine = (run.asked += 1);
    run.offset = from;
    remember("rollouts", state);
    if (from === 0) list.setAttribute("aria-busy", "true");
    for (;;) {
      let answer;
      try {
        answer = await ask("rollouts", { ...state, offset: from, limit: PAGE });
      } catch (error) {
        if (mine === run.asked) fill(count, el("span", { class: "warn" }, error.message));
        return;
      }
      if (mine !== run.asked) return;
      const rows = answer.rows.map((row, at) => line(row, state, from + at));
      if (from === 0) fill(list, ...rows); else list.append(...rows);
      list.removeAttribute("aria-busy");
      run.version = answer.version;
      tell(answer);
      if (answer.searched >= 1) return;
      if (from > 0) return;
    }
  };

  const tell = (answer) => {
    const { steps, read, tokens_read: tokens } = answer.progress;
    const parts = [`${counted(answer.total, "rollout")}${answer.total ? `, mean reward ${number(answer.mean_reward, 3)}` : ""}`];
    if (answer.searched < 1) parts.push(`text searched in ${share(answer.searched, 0)} so far`);
    if (read < steps) parts.push(`${read.toLocaleString("en")} of ${steps.toLocaleString("en")} steps read`);
    else if (tokens < read) parts.push(`lengths and pushes known of ${tokens.toLocaleString("en")} of ${read.toLocaleString("en")} steps`);
    fill(count, steps ? parts.join(" · ") : NO_ROLLOUTS);
    more.hidden = answer.total <= list.children.length;
    page.newer.hidden = true;
  };

  const set = (name, value) => { state[name] = value; load(0); };
  more.addEventListener("click", () => load(list.children.length));
  page.newer = el("button", { type: "button", class: "newer", hidden: true, on: { click: () => load(0) } }, "Newer rollouts are there: show them");
  const heads = ["Step", "Reward", "Tokens", "Push", "KL", "Prompt and completion"];
  main.append(heading("Rollouts"), filters(state, found, set), el("div", { class: "bar" }, count, page.newer),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Rollouts" }, el("table", { class: "rollouts" }, el("caption", { class: "visually-hidden" }, "Rollouts; the link of each opens its group"),
      el("thead", {}, el("tr", {}, heads.map((title, at) => el("th", { scope: "col", class: at < 5 ? "number" : null }, title)))), list)), more);
  await load(0);
  page.changed = (events) => {
    const event = events.find((one) => one.run === Number(state.run) && (one.ledger || one.again));
    if (!event) return;
    if (list.children.length <= PAGE && scrollY < 200 && !list.contains(document.activeElement)) load(0);
    else page.newer.hidden = false;
  };
};

function filters(state, found, set) {
  const field = (label, name, properties = {}) => el("label", { class: "field" }, el("span", {}, label),
    el("input", { type: "text", inputmode: "decimal", size: "6", value: state[name] ?? "", ...properties, on: { input: later(250, (event) => set(name, event.target.value.trim())) } }));
  const three = (label, name, yes, no) => choice(label, [["", "either"], ["yes", yes], ["no", no]], state[name] ?? "", (value) => set(name, value));
  const several = (values) => [["", "any"], ...values.map((value) => [value, value])];
  const more = ["part", "status", "shortest", "longest", "finished", "signal", "stop", "example", "group"].some((name) => state[name]);
  return el("form", { class: "filters", on: { submit: (event) => event.preventDefault() } },
    el("div", { class: "row" },
      runChoice(state, (value) => go("rollouts", { run: value })),
      choice("Order", ORDERS, state.order ?? "newest", (value) => set("order", value)),
      found.stages.length > 1 ? choice("Stage", several(found.stages), state.stage ?? "", (value) => set("stage", value)) : null,
      field("Steps from", "first"), field("to", "last"),
      field("Reward from", "least"), field("to", "most"),
      three("Verdict", "correct", "right", "wrong"),
      el("label", { class: "field wide" }, el("span", {}, "Text holds"), el("input", { type: "search", value: state.text ?? "", maxlength: "500", on: { input: later(300, (event) => set("text", event.target.value)) } }))),
    el("details", { open: more }, el("summary", {}, "More filters"), el("div", { class: "row" },
      three("End", "finished", "finished", "truncated"), three("Group", "signal", "rewards differ", "all alike"),
      field("Tokens from", "shortest"), field("to", "longest"),
      found.parts.length > 1 ? choice("Reward means", [["", "the sum"], ...found.parts.map((name) => [name, name])], state.part ?? "", (value) => set("part", value)) : null,
      found.statuses.length > 1 ? choice("Status", several(found.statuses), state.status ?? "", (value) => set("status", value)) : null,
      found.stops.length ? choice("Stopped by", several(found.stops), state.stop ?? "", (value) => set("stop", value)) : null,
      field("Example", "example", { inputmode: "text", size: "14" }), field("Group number", "group"))));
}

function line(row, state, at) {
  const address = link("group", { run: state.run, stage: row.stage, step: row.step, group: row.group, row: row.row, from: JSON.stringify({ ...state, at }) });
  const verdict = row.correct === 1 ? el("span", { class: "verdict right" }, "right") : row.correct === 0 ? el("span", { class: "verdict wrong" }, "wrong") : null;
  const marks = [verdict, row.finished === 0 ? el("span", { class: "verdict cut" }, "truncated") : null, row.stop && row.stop !== "finished" && row.stop !== "truncated" ? el("span", { class: "verdict" }, row.stop) : null];
  const open = el("a", { href: address, class: "open" }, oneLine(row.prompt, 90) || row.example);
  return el("tr", { on: { click: (event) => { if (event.target.tagName !== "A" && !String(getSelection())) open.click(); } } },
    el("td", { class: "number" }, String(row.step), state.stage ? null : el("small", {}, row.stage)),
    el("td", { class: "number" }, el("b", {}, number(row.reward, 3))),
    el("td", { class: "number" }, number(row.length)),
    el("td", { class: `number ${row.push > 0 ? "up" : row.push < 0 ? "down" : ""}` }, signed(row.push, 2)),
    el("td", { class: "number" }, number(row.kl, 2)),
    el("td", { class: "what" }, el("p", { class: "prompt" }, open, marks), el("p", { class: "excerpt", dir: "ltr" }, oneLine(row.text, 180))));
}
