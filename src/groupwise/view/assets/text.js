"use strict";

// Model text: only ever text, and what would hide or turn it is shown.

const TURNS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/gu;

function nameOf(letter) {
  const code = letter.codePointAt(0);
  if (code === 0) return "NUL";
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** Text whose invisible letters stand as small marks. */
function visible(text) {
  const parts = [];
  let done = 0;
  for (const found of text.matchAll(HIDDEN)) {
    parts.push(text.slice(done, found.index), el("span", { class: "hidden-letter", title: TURNS.test(found[0]) ? "turns the direction of writing" : "control character" }, nameOf(found[0])));
    done = found.index + found[0].length;
  }
  parts.push(text.slice(done));
  return parts.filter((part) => part !== "");
}

/** The same on one line, as plain text. */
function oneLine(text, most = 160) {
  const plain = text.slice(0, 4 * most).replace(/\s*\n\s*/g, " ↵ ").replace(HIDDEN, nameOf);
  return plain.length > most ? `${plain.slice(0, most)}…` : plain;
}

/** A text as it was written; a long one in a box that scrolls, also by keyboard. */
function says(text, kind = "") {
  const long = (text ?? "").length > 1500;
  return el("p", { class: `says ${kind}${long ? " scrolls" : ""}`, dir: "ltr", tabindex: long ? "0" : null }, visible(text ?? ""));
}

/** Words that two texts share and that they do not: pairs of kind and text. */
function difference(before, after) {
  const a = words(before), b = words(after);
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const left = a.slice(start, a.length - end), right = b.slice(start, b.length - end);
  const middle = left.length * right.length > 4e6 ? [["-", left.join("")], ["+", right.join("")]] : longest(left, right);
  return joined([["=", a.slice(0, start).join("")], ...middle, ["=", a.slice(a.length - end).join("")]]);
}

const words = (text) => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];

/** By the longest common part of two lists. */
function longest(a, b) {
  const size = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1)
    for (let j = b.length - 1; j >= 0; j -= 1) size[i][j] = a[i] === b[j] ? size[i + 1][j + 1] + 1 : Math.max(size[i + 1][j], size[i][j + 1]);
  const found = [];
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { found.push(["=", a[i]]); i += 1; j += 1; }
    else if (j >= b.length || (i < a.length && size[i + 1][j] >= size[i][j + 1])) { found.push(["-", a[i]]); i += 1; }
    else { found.push(["+", b[j]]); j += 1; }
  }
  return found;
}

function joined(parts) {
  const found = [];
  for (const [kind, text] of parts) {
    if (!text) continue;
    if (found.length && found.at(-1)[0] === kind) found.at(-1)[1] += text;
    else found.push([kind, text]);
  }
  return found;
}

/** Two texts side by side, with what is gone in the first and what is new in the second. */
function sideBySide(before, after) {
  const parts = difference(before, after);
  const side = (kept, name) => el("p", { class: "says", dir: "ltr" }, parts.filter(([kind]) => kind === "=" || kind === kept).map(([kind, text]) => (kind === "=" ? visible(text) : el(name, {}, visible(text)))));
  return [side("-", "del"), side("+", "ins")];
}
