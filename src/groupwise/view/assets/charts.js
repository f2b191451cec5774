"use strict";

// Charts: uPlot on a canvas, the arrow keys over its points, and a table under each.

const HEIGHT = 170;
const SMOOTH_FROM = 40;
const COLOURS = ["--run-0", "--run-1", "--run-2", "--run-3", "--run-4", "--run-5"];
const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3], [4, 2], [12, 4]];

const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A centred moving mean over a twentieth of the points on either side. */
function smooth(values) {
  const reach = Math.max(1, Math.floor(values.length / 40));
  return values.map((value, at) => {
    if (value === null) return null;
    const near = values.slice(Math.max(0, at - reach), at + reach + 1).filter((each) => each !== null);
    return near.reduce((sum, each) => sum + each, 0) / near.length;
  });
}

/** Several curves over one axis: every x of any, in order, and null where a curve has none there. */
function aligned(curves) {
  const xs = [...new Set(curves.flatMap((curve) => curve.x))].sort((a, b) => a - b);
  const place = new Map(xs.map((x, at) => [x, at]));
  return [xs, ...curves.map((curve) => {
    const values = new Array(xs.length).fill(null);
    curve.x.forEach((x, at) => { values[place.get(x)] = curve.y[at]; });
    return values;
  })];
}

/**
 * A figure. curves: [{label, run, x, y}]; marks: [{x, label, kind}].
 * The figure's ``update(curves, marks)`` draws other data; ``sync`` names the charts whose cursors move together.
 */
function chart(title, { curves, marks = [], note: words = "", xName = "step", sync = "", height = HEIGHT, points = false, xWords = null }) {
  const figure = el("figure", { class: "chart" });
  const values = el("p", { class: "legend", "aria-hidden": "true" });
  const where = el("span", { class: "place" });
  const canvas = el("div", { class: "canvas", tabindex: "0", role: "img", "aria-label": `${title}. Not drawn yet.` });
  const under = el("details", { class: "under" });
  figure.append(el("figcaption", {}, el("span", { class: "title" }, title), words ? el("span", { class: "words" }, words) : null, where), canvas, values, under);
  const state = { curves, marks, plot: null, data: null, xWords };
  const named = xWords ?? ((x) => number(x, 6));

  const tell = (at) => {
    const known = at !== null && at !== undefined;
    where.textContent = known ? `${xName} ${named(state.data[0][at])}` : "";
    fill(values, ...state.curves.map((curve, place) => {
      const own = state.data[place + 1];
      const value = known ? nearest(own, at) : own.findLast((each) => each !== null);
      return el("span", {}, el("i", { class: `key run-${curve.run % 6}` }), curves.length > 1 || view.runs.length > 1 || curve.label !== runName(0) ? `${curve.label} ` : "", el("b", {}, number(value)));
    }));
  };

  const draw = () => {
    state.plot?.destroy();
    state.data = aligned(state.curves);
    describe();
    const width = Math.max(200, canvas.clientWidth || 320);
    state.plot = new uPlot(options(state, width, height, sync, points, tell), plotted(state.data), canvas);
    tell(null);
    if (under.open) fillTable();
  };

  const describe = () => {
    const last = state.curves.map((curve, at) => `${curve.label}: ${number(state.data[at + 1].findLast((each) => each !== null))}`);
    canvas.setAttribute("aria-label", `${title}. Last values: ${last.join("; ")}. The table below has all.`);
  };

  const fillTable = () => {
    const rows = shown(state.data[0].length).map((at) => [named(state.data[0][at]), ...state.curves.map((_, place) => number(state.data[place + 1][at]))]);
    const heads = [{ title: xName }, ...state.curves.map((curve) => ({ title: curve.label, number: true }))];
    fill(under, el("summary", {}, "Table"), table(`${title} by ${xName}`, heads, rows, { class: "plain", quiet: true }));
  };

  under.append(el("summary", {}, "Table"));
  under.addEventListener("toggle", () => { if (under.open) fillTable(); });
  canvas.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 }[event.key];
    if (!by || !state.plot) return;
    event.preventDefault();
    const last = state.data[0].length - 1;
    const at = Math.max(0, Math.min(last, (state.plot.cursor.idx ?? (by > 0 ? -1 : last + 1)) + by));
    state.plot.setCursor({ left: state.plot.valToPos(state.data[0][at], "x"), top: 10 });
  });
  new ResizeObserver(() => {
    const width = canvas.clientWidth;
    if (!width) return;
    if (!state.plot) draw();
    else if (Math.abs(state.plot.width - width) > 1) state.plot.setSize({ width, height });
  }).observe(canvas);
  figure.update = (fresh, freshMarks) => {
    const same = fresh.length === state.curves.length;
    state.curves = fresh;
    state.marks = freshMarks ?? state.marks;
    if (!state.plot) return;
    if (!same) { draw(); return; }
    state.data = aligned(fresh);
    state.plot.setData(plotted(state.data));
    describe();
    tell(null);
    if (under.open) fillTable();
  };
  figure.redraw = () => { if (state.plot) draw(); };
  return figure;
}

function nearest(values, at) {
  for (let by = 0; by < 8; by += 1) {
    if (values[at - by] !== null && values[at - by] !== undefined) return values[at - by];
  }
  return values[at];
}

/** At most so many places of a long table, evenly. */
function shown(count, most = 200) {
  const every = Math.max(1, Math.ceil(count / most));
  return Array.from({ length: count }, (_, at) => at).filter((at) => at % every === 0 || at === count - 1);
}

/** Every curve twice: as it is, and smooth where it is long. */
function plotted([x, ...curves]) {
  return [x, ...curves.flatMap((values) => {
    const known = values.filter((value) => value !== null).length;
    return known > SMOOTH_FROM && known > 0.6 * values.length ? [values, smooth(values)] : [values, values];
  })];
}

function options(state, width, height, sync, points, tell) {
  const sparse = (at) => points || state.curves[at].sparse || state.curves[at].x.length < 3;
  const isLong = (at) => !sparse(at) && state.data[at + 1].filter((value) => value !== null).length > SMOOTH_FROM;
  const series = state.curves.flatMap((curve, at) => {
    const colour = () => ink(COLOURS[curve.run % 6]);
    const dash = DASHES[curve.run % 6];
    const dots = { show: sparse(at), size: 6, fill: colour, stroke: () => ink("--paper"), width: 1 };
    return [
      { label: `${curve.label}, each`, stroke: () => faint(colour()), width: isLong(at) ? 1 : 0, points: { show: false }, spanGaps: true },
      { label: curve.label, stroke: colour, width: 2, dash, points: dots, spanGaps: true },
    ];
  });
  const axis = { stroke: () => ink("--muted"), font: `11px ${ink("--sans")}`, ticks: { show: false }, grid: { stroke: () => ink("--grid"), width: 1 } };
  return {
    width, height, series: [{}, ...series], legend: { show: false },
    padding: [12, 8, 0, 0],
    scales: { x: { time: false }, y: { range: (_, low, high) => range(low, high) } },
    axes: [
      { ...axis, size: 24, space: 60, grid: { show: false }, values: (_, ticks) => ticks.map((tick) => (state.xWords ? (Number.isInteger(tick) ? state.xWords(tick) : "") : brief(tick))) },
      { ...axis, size: 46, space: 34, values: (_, ticks) => ticks.map((tick) => brief(tick)) },
    ],
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 }, sync: sync ? { key: sync, setSeries: false } : undefined },
    hooks: {
      setCursor: [(plot) => tell(plot.cursor.left >= 0 ? plot.cursor.idx : null)],
      draw: [(plot) => drawMarks(plot, state.marks)],
    },
  };
}

function faint(colour) {
  return colour.startsWith("#") && colour.length === 7 ? `${colour}44` : colour;
}

function brief(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)}k`;
  if (size && size < 1e-3) return (+value.toPrecision(2)).toExponential().replaceAll("-", "−");
  return String(+value.toPrecision(6)).replace("-", "−");
}

function range(low, high) {
  if (low === null || high === null) return [0, 1];
  if (low === 0 && high === 0) return [0, 1];
  if (high - low <= 1e-9 * Math.max(Math.abs(low), Math.abs(high))) return [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  const air = 0.08 * (high - low);
  return [low >= 0 && low < 0.4 * high ? 0 : low - air, high + air];
}

/** Alarms as triangles, stops as bars: a shape each, not only a colour. */
function drawMarks(plot, marks) {
  const { ctx, bbox } = plot;
  const unit = devicePixelRatio;
  for (const mark of marks) {
    const left = Math.round(plot.valToPos(mark.x, "x", true));
    if (left < bbox.left - 1 || left > bbox.left + bbox.width + 1) continue;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = ink(mark.kind === "alarm" ? "--warn" : "--muted");
    ctx.lineWidth = unit;
    ctx.setLineDash([2 * unit, 3 * unit]);
    ctx.globalAlpha = 0.75;
    ctx.beginPath();
    ctx.moveTo(left, bbox.top);
    ctx.lineTo(left, bbox.top + bbox.height);
    ctx.stroke();
    ctx.globalAlpha = 1;
    if (mark.kind === "alarm") {
      ctx.beginPath();
      ctx.moveTo(left, bbox.top);
      ctx.lineTo(left - 4.5 * unit, bbox.top - 8 * unit);
      ctx.lineTo(left + 4.5 * unit, bbox.top - 8 * unit);
      ctx.fill();
    } else {
      ctx.fillRect(left - 3 * unit, bbox.top - 8 * unit, 2 * unit, 8 * unit);
      ctx.fillRect(left + unit, bbox.top - 8 * unit, 2 * unit, 8 * unit);
    }
    ctx.restore();
  }
}

// Paper is light whatever the screen is: curves are drawn again for it, and again for the screen.
for (const media of ["(prefers-color-scheme: dark)", "print"]) {
  matchMedia(media).addEventListener("change", () => {
    for (const figure of document.querySelectorAll("figure.chart")) figure.redraw?.();
  });
}
