"use strict";

// Charts: the values under the pointer, or under the arrow keys, in every chart of the same section at once.
for (const section of document.querySelectorAll("section.stage, .beside")) {
  const charts = [...section.querySelectorAll("figure.chart")].map((figure) => ({
    data: JSON.parse(figure.dataset.chart),
    svg: figure.querySelector("svg"),
    cursor: figure.querySelector(".cursor"),
    place: figure.querySelector(".place"),
    outputs: [...figure.querySelectorAll("output")],
  }));

  const show = (x) => {
    for (const { data, cursor, place, outputs } of charts) {
      const at = data.x.indexOf(x);
      cursor.classList.toggle("on", at >= 0);
      place.textContent = at < 0 ? "" : data.places[at];
      outputs.forEach((output, i) => { output.textContent = at < 0 ? output.dataset.rest : data.series[i][at] ?? "–"; });
      if (at < 0) continue;
      cursor.setAttribute("x1", data.left[at]);
      cursor.setAttribute("x2", data.left[at]);
    }
  };

  for (const { data, svg } of charts) {
    let at = data.x.length - 1;
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      at = data.left.reduce((best, left, i) => (Math.abs(left - x) < Math.abs(data.left[best] - x) ? i : best), 0);
      show(data.x[at]);
    });
    svg.addEventListener("pointerleave", () => show(null));
    svg.addEventListener("blur", () => show(null));
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      at = Math.min(data.x.length - 1, Math.max(0, at + step));
      show(data.x[at]);
    });
  }
}

// Groups: what stands behind a token's colour. Text is only ever set as text.
for (const group of document.querySelectorAll("details.group")) {
  const readout = group.querySelector("output");
  if (!readout) continue;
  let current = null;

  const read = (token) => {
    current?.classList.remove("on");
    current = token;
    token.classList.add("on");
    const name = document.createElement("b");
    name.textContent = JSON.stringify(token.textContent.replaceAll("↵\n", "\n"));
    readout.replaceChildren(name, `  coefficient ${token.dataset.c}  ·  log-probability ${token.dataset.p}`);
  };

  for (const tokens of group.querySelectorAll(".tokens")) {
    tokens.addEventListener("pointerover", (event) => { if (event.target.dataset.c) read(event.target); });
    tokens.addEventListener("keydown", (event) => {
      const inside = current?.parentElement === tokens ? current : null;
      const next = { ArrowRight: inside ? inside.nextElementSibling : tokens.firstElementChild, ArrowLeft: inside?.previousElementSibling }[event.key];
      if (!next) return;
      event.preventDefault();
      read(next);
    });
  }
}
