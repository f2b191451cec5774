"use strict";

// The page of an exported file: what was found, evaluation, curves, alarms and some groups, one below the other.

const OPEN_GROUPS = 4;

view.pages.report = async (main, fields, page) => {
  const { cards, curves, alarms } = await overviewParts(fields, page);
  const { written } = await ask("written");
  main.append(heading(view.runs.length > 1 ? counted(view.runs.length, "run") : runName(0), el("span", { class: "muted" }, `as of ${moment(written)}`)), cards);
  if (view.stored.comparison) main.append(...comparisonTables(view.stored.comparison));
  for (const [at, run] of view.runs.entries()) {
    const found = await ask("evaluation", { run: at });
    if (view.runs.length > 1 && !run.result) continue;
    main.append(el("h2", {}, view.runs.length > 1 ? `Evaluation of ${runName(at)}` : "Evaluation"));
    evaluationBody(main, found, { run: at });
  }
  main.append(...curves, alarms);
  for (const [at] of view.runs.entries()) {
    const { groups } = await ask("groups", { run: at });
    main.append(el("h2", {}, view.runs.length > 1 ? `Groups of ${runName(at)}` : "Groups"));
    if (!groups.length) main.append(note("No rollout of this run is kept; stages that learn from data alone (demonstrations, pairs, labels) draw none."));
    groups.forEach((found, number) => main.append(shownGroup(found, at, number < OPEN_GROUPS)));
  }
};

/** The tables of groupwise compare: one below the other, then how to read them. */
function comparisonTables({ tables, remarks }) {
  const made = tables.map(([title, heads, rows]) => {
    const places = title.startsWith("Where");
    return [el("h2", {}, oneLine(title)), table(oneLine(title), heads.map((head, at) => ({ title: oneLine(head || (places ? "Place" : "Measure")), number: at > 0 && !places })), rows.map((row) => row.map((cell) => oneLine(cell))), { quiet: true })];
  });
  return [...made.flat(), ...remarks.map((line) => note(oneLine(line)))];
}

function shownGroup(found, run, open) {
  const title = oneLine(found.opening.at(-1)?.text ?? found.prompt ?? found.example ?? "", 120);
  const made = el("details", { class: "shown-group", open }, el("summary", {}, el("b", {}, title), ` ${found.stage}, step ${found.step}, ${counted(found.members, "completion")}`));
  const draw = () => { if (made.open && made.children.length === 1) made.append(...groupBody(found, { run, stage: found.stage, step: found.step }, () => {})); };
  made.addEventListener("toggle", draw);
  draw();
  return made;
}
