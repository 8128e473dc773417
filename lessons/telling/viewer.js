// The attention viewer. viewer.py writes the data; here they become heads to open, tokens to point
// at and a pattern to read. Texts enter the page as text only, so that a token may hold anything.
// What is chosen (a click, a tap, Enter, an arrow key) stays; what is pointed at shows until the
// pointer goes. All three parts, the tokens, the heads and the cells, are one Tab stop each.
"use strict";

for (const data of document.querySelectorAll("script.attention")) {
  attentionViewer(data.parentNode, JSON.parse(data.textContent));
}

function attentionViewer(figure, { title, tokens, opened, decimals, patterns }) {
  const n = tokens.length, nHeads = patterns[0].length, one = 10 ** decimals;
  const chosen = { layer: opened[0], head: opened[1], query: n - 1, key: null };
  let pointed = {}, drawn = null; // what is pointed at, and the head whose numbers the cells have

  const share = ({ layer, head }, q, k) => patterns[layer][head][q * (q + 1) / 2 + k];
  const said = (number) => (number / one).toFixed(decimals);
  const most = (state) => { // where a token looks most
    const row = tokens.slice(0, state.query + 1).map((_, k) => share(state, state.query, k));
    return row.indexOf(Math.max(...row));
  };

  explain(figure, title);
  const words = tokenLine(figure, tokens);
  const parts = add(figure, "div", { class: "parts" });
  const thumbs = headGrid(parts, patterns, n, one);
  const side = add(parts, "div", { class: "side" });
  const readout = add(side, "output", { "aria-live": "polite" });
  const { table, cells, rowHeads, columnHeads } = patternTable(side, tokens);
  figure.classList.toggle("wide", nHeads > 6);

  function show() {
    const state = { ...chosen, ...pointed }, name = `L${state.layer}H${state.head}`;
    state.key ??= most(state);
    shade(state);
    if (drawn !== name) fill(state, name);
    mark(state, name);
    current(words, chosen.query);
    current(thumbs, chosen.layer * nHeads + chosen.head);
    current(cells, chosen.query * n + (chosen.key ?? most(chosen)));
  }

  function shade(state) { // the tokens, by how much the one that looks puts on each
    words.forEach((word, i) => {
      const number = i <= state.query ? share(state, state.query, i) : 0;
      word.style.setProperty("--share", number / one);
      word.lastChild.textContent = number >= one / 20 ? said(number).replace(/^0/, "") : "";
      word.className = i === state.query ? "looks" : i > state.query ? "later" : "";
    });
  }

  function fill(state, name) { // the cells, with the numbers of a head
    drawn = name;
    table.setAttribute("aria-label", `the pattern of ${name}`);
    cells.forEach((cell, i) => {
      if (!cell) return;
      const q = Math.floor(i / n), k = i % n, number = share(state, q, k);
      cell.style.setProperty("--share", number / one);
      cell.setAttribute("aria-label", `from ${tokens[q]} to ${tokens[k]} ${said(number)}`);
    });
  }

  function mark(state, name) { // one cell, and say what it holds
    const { query, key } = state, at = (items, index) =>
      items.forEach((item, i) => item?.classList.toggle("at", i === index));
    at(cells, query * n + key);
    at(rowHeads, query);
    at(columnHeads, key);
    readout.replaceChildren();
    add(readout, "b", { text: name });
    for (const [word, token] of [["from", tokens[query]], ["to", tokens[key]]]) {
      add(readout, "span", { text: word });
      add(readout, "code", { text: token });
    }
    add(readout, "b", { text: said(share(state, query, key)) });
  }

  const choose = (change) => { Object.assign(chosen, change); pointed = {}; show(); };
  const point = (change) => { pointed = change; show(); };
  const cellAt = (i) => ({ query: Math.floor(i / n), key: i % n });
  rove(words, n, (i) => choose({ query: i, key: null }));
  rove(thumbs, nHeads, (i) => choose({ layer: Math.floor(i / nHeads), head: i % nHeads }));
  rove(cells, n, (i) => choose(cellAt(i)));
  words.forEach((word, i) => word.onpointerenter = () => point({ query: i, key: null }));
  cells.forEach((cell, i) => cell && (cell.onpointerenter = () => point(cellAt(i))));
  words[0].parentNode.onpointerleave = table.onpointerleave = () => point({});
  show();
}

function explain(figure, title) {
  add(figure, "figcaption", { text: title });
  const hint = add(figure, "p", { class: "hint", text: "Open a head, one of the small squares, " +
    "to see its pattern: a line for each token that looks, a column for each that it may look " +
    "at. Point at a token, or tap it, to see where it looks. Arrow keys work too. " });
  const scale = add(hint, "span", { class: "scale", text: "Attention: 0" });
  add(scale, "i", {});
  scale.append("1");
}

// The prompt, a button for each token, with room below for what is put on it.
function tokenLine(figure, tokens) {
  const line = add(figure, "div", { class: "tokens", role: "radiogroup",
    "aria-label": "the token that looks" });
  return tokens.map((token) => {
    const word = add(line, "button", { type: "button", role: "radio", "aria-label": token });
    add(word, "span", { text: token.slice(token.indexOf(" ") + 1) }); // without its number
    add(word, "small", {});
    return word;
  });
}

// All heads, small: a line for each layer, and their names on the left and below.
function headGrid(parts, patterns, n, one) {
  const heads = add(parts, "div", { class: "heads", role: "radiogroup", "aria-label": "heads" });
  const name = (text) => add(heads, "span", { text, "aria-hidden": "true" });
  heads.style.setProperty("--heads", patterns[0].length);
  const thumbs = patterns.flatMap((layer, l) => {
    name(`L${l}`);
    return layer.map((pattern, h) => {
      const texts = { title: `L${l}H${h}`, "aria-label": `L${l}H${h}` };
      const thumb = add(heads, "button", { type: "button", role: "radio", ...texts });
      thumb.append(thumbnail(pattern, n, one));
      return thumb;
    });
  });
  name("");
  patterns[0].forEach((_, h) => name(`H${h}`));
  return thumbs;
}

// The pattern in full, without its numbers; cells of the future are null.
function patternTable(side, tokens) {
  const table = add(side, "table", { role: "grid" }), cells = [];
  table.style.setProperty("--n", tokens.length);
  const rowHeads = tokens.map((token, q) => {
    const row = add(table, "tr", {}), head = { scope: "row", text: token, title: token };
    const th = add(row, "th", head);
    tokens.forEach((_, k) => {
      const cell = add(row, "td", k <= q ? { role: "gridcell" } : { class: "later" });
      cells.push(k <= q ? cell : null);
    });
    return th;
  });
  const foot = add(table, "tr", {});
  add(foot, "th", {});
  const columnHeads = tokens.map((token) => {
    const th = add(foot, "th", { scope: "col", title: token });
    add(th, "span", { text: token });
    return th;
  });
  return { table, cells, rowHeads, columnHeads };
}

// Make an element at the end of a parent; its attributes, with `text` for what it says.
function add(parent, tag, { text = "", ...attributes }) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  parent.append(element);
  return element;
}

// Draw a pattern small: blue, the more opaque the larger the share. CSS turns it for dark pages.
function thumbnail(pattern, n, one) {
  const canvas = document.createElement("canvas"), step = Math.max(1, Math.round(120 / n));
  canvas.width = canvas.height = n * step;
  const ink = canvas.getContext("2d");
  pattern.forEach((number, i) => {
    const q = Math.floor((Math.sqrt(8 * i + 1) - 1) / 2), k = i - q * (q + 1) / 2;
    ink.fillStyle = `rgb(31 78 121 / ${number / one})`;
    ink.fillRect(k * step, q * step, step, step);
  });
  return canvas;
}

// Let arrow keys move in a grid of items, some of which may be missing, and a click pick one.
function rove(items, columns, pick) {
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  items.forEach((item, i) => {
    if (!item) return;
    item.onclick = () => pick(i);
    item.onkeydown = (event) => {
      const step = steps[event.key];
      if (event.key === "Enter" || event.key === " ") pick(i);
      if (!step) return;
      event.preventDefault();
      const row = Math.floor(i / columns) + step[0], column = i % columns + step[1];
      const next = row * columns + column;
      if (column < 0 || column >= columns || !items[next]) return;
      pick(next);
      items[next].focus();
    };
  });
}

// Mark the chosen item of a group: it is the one that Tab reaches.
function current(items, index) {
  items.forEach((item, i) => {
    if (!item) return;
    item.tabIndex = i === index ? 0 : -1;
    const state = item.getAttribute("role") === "radio" ? "aria-checked" : "aria-selected";
    item.setAttribute(state, i === index);
  });
}
