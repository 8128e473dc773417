// The page of all latents. latents_page.py writes the data; here they become a table to search and
// sort, and beside it the latent that is chosen (latent.js). Texts enter the page as text only, so that a token
// may hold anything. The address keeps what is chosen (#latent=17), so that it can be passed on.
"use strict";

const MORE = 200; // rows that are drawn at a time
const SCOPES = { all: "everywhere", at: "words it is on at", up: "words it promotes",
  best: "true features" };

const main = document.querySelector("main.latents");
const data = JSON.parse(document.querySelector("script.data").textContent);
const { words, latents } = data;
const byNumber = new Map(latents.map((latent) => [latent.n, latent]));

const hundredths = (number) => (number / 100).toFixed(2);
const nats = (number) => (number / 1000).toFixed(3);
const signed = (number) => (number < 0 ? "" : "+") + hundredths(number);
const word = (id) => words[id].trim();
const list = (pairs, say) => pairs.map(([id, number]) => `${word(id)} ${say(number)}`).join("  ");
const featureOf = (latent) => (latent.best ? data.features[latent.best[0]] : "");
const rate = (latent) => `${(100 * latent.count / data.n_tokens).toFixed(2)} %`;
const topWords = (latent) => (latent.at ?? []).slice(0, 2).map(([id]) => word(id)).join(" ");
const hasLost = data.documents > 0, hasBest = data.features.length > 0;

// name, what a cell says, what it is sorted by; numbers come largest first, texts from a to z
const COLUMNS = [
  ["latent", (one) => one.n, (one) => -one.n],
  hasBest && ["F1", (one) => (one.best ? hundredths(one.best[1]) : ""), (one) => one.best?.[1]],
  hasBest && ["best true feature", featureOf, featureOf],
  ["on at", topWords, topWords],
  ["on", rate, (one) => one.count],
  hasLost && ["lost, nats", (one) => (one.lost == null ? "" : nats(one.lost)), (one) => one.lost],
].filter(Boolean);

const kind = (column) => (["F1", "best true feature"].includes(column) ? "truth" : "");
let sort = { column: hasBest ? 1 : 2, turned: false }; // `turned`: the other way round
let order = latents, drawn = MORE, chosen = null;

// ---- the parts of the page ------------------------------------------------------------------------

const left = add(main, "section", { class: "all", "aria-label": "all latents" });
const form = add(left, "div", { class: "search", role: "search" });
const box = add(form, "input", { type: "search", placeholder: "a word, a feature, or a number",
  "aria-label": "search", autocomplete: "off", spellcheck: "false" });
const scope = add(form, "select", { "aria-label": "where to search" });
for (const [value, text] of Object.entries(SCOPES)) {
  if (value !== "best" || hasBest) add(scope, "option", { value, text });
}
if (hasBest) { // read first, then look
  const label = add(form, "label", { text: "guess first " });
  const guess = add(label, "input", { type: "checkbox" });
  label.title = "hide the true features and their F1";
  guess.onchange = () => {
    main.classList.toggle("guessing", guess.checked);
    sort = { column: guess.checked ? 0 : 1, turned: false };
    refresh();
  };
}
const found = add(left, "output", { class: "soft", "aria-live": "polite" });
const scroll = add(left, "div", { class: "rows" });
const table = add(scroll, "table", { role: "grid", "aria-label": "latents" });
const headRow = add(add(table, "thead", {}), "tr", {});
const heads = COLUMNS.map(([name], i) => {
  const head = add(headRow, "th", { scope: "col", class: kind(name) });
  const button = add(head, "button", { type: "button", text: name });
  button.onclick = () => {
    sort = { column: i, turned: sort.column === i && !sort.turned };
    refresh();
  };
  return head;
});
const body = add(table, "tbody", {});
const more = add(scroll, "button", { type: "button", class: "further", text: "more" });
more.onclick = () => { drawn += MORE; drawRows(); };
const detail = add(main, "section", { class: "one", "aria-label": "the chosen latent" });

// ---- search and sort ------------------------------------------------------------------------------

function split(text) {
  return text.toLowerCase().split(/[\s=]+/).filter(Boolean);
}

const bags = latents.map((one) => { // what each latent is found by
  const said = (pairs) => (pairs ?? []).map(([id]) => word(id).toLowerCase());
  const bag = { at: said(one.at), up: said(one.up), best: split(featureOf(one)) };
  return { ...bag, all: [...bag.at, ...bag.up, ...bag.best, String(one.n)] };
});

function matches(query, where) { // all terms; as whole words or, where no latent has one, beginnings
  let left = latents.map((_, i) => i);
  for (const term of split(query)) {
    const whole = left.filter((i) => bags[i][where].includes(term));
    left = whole.length ? whole
      : left.filter((i) => bags[i][where].some((one) => one.startsWith(term)));
  }
  return left.map((i) => latents[i]);
}

function sorted(some) { // what has no number comes last
  const key = COLUMNS[sort.column][2], sign = sort.turned ? -1 : 1;
  const compare = (a, b) => {
    if (typeof a === "string") return a && b ? sign * a.localeCompare(b) : !a - !b;
    return a == null || b == null ? (a == null) - (b == null) : sign * (b - a);
  };
  return [...some].sort((a, b) => compare(key(a), key(b)) || a.n - b.n);
}

function refresh() {
  const query = box.value.trim();
  order = sorted(matches(query, scope.value));
  const number = /^\d+$/.test(query) && byNumber.get(Number(query));
  if (number) order = [number, ...order.filter((one) => one !== number)];
  found.textContent = `${order.length.toLocaleString("en")} of ` +
    `${latents.length.toLocaleString("en")} latents`;
  heads.forEach((head, i) => {
    const largestFirst = typeof COLUMNS[i][2](latents[0]) !== "string" && i > 0;
    const up = largestFirst === sort.turned;
    head.setAttribute("aria-sort", i !== sort.column ? "none" : up ? "ascending" : "descending");
  });
  drawn = MORE;
  drawRows();
  scroll.scrollTop = 0;
}

function drawRows() {
  body.replaceChildren();
  for (const one of order.slice(0, drawn)) {
    const row = add(body, "tr", { "data-n": one.n });
    for (const [name, say] of COLUMNS) add(row, "td", { text: say(one), class: kind(name) });
    row.onclick = () => { choose(one); if (narrow()) detail.scrollIntoView(); };
  }
  more.hidden = drawn >= order.length;
  mark();
}

function mark() { // the chosen row is the one that Tab reaches; if it is not there, the first
  const rows = [...body.children];
  const at = Math.max(0, rows.findIndex((row) => Number(row.dataset.n) === chosen?.n));
  rows.forEach((row, i) => {
    row.tabIndex = i === at ? 0 : -1;
    row.setAttribute("aria-selected", Number(row.dataset.n) === chosen?.n);
  });
}

const narrow = () => matchMedia("(max-width: 60rem)").matches;

// ---- choosing -------------------------------------------------------------------------------------

function choose(one) {
  location.replace(`#latent=${one.n}`); // no entry of its own: Back leads off the page
  open(one);
}

function open(one) {
  if (one === chosen) return;
  chosen = one;
  mark();
  drawDetail(one);
}

function step(by, focus) { // to the next latent of the table, as it is sorted and searched
  const at = order.indexOf(chosen), next = order[at + by];
  if (!next) return;
  if (at + by >= drawn) { drawn += MORE; drawRows(); }
  choose(next);
  const row = body.children[at + by];
  if (focus) row.focus();
  row.scrollIntoView({ block: "nearest" });
}

body.onkeydown = (event) => {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (by) { event.preventDefault(); step(chosen && order.includes(chosen) ? by : 1, true); }
  if (event.key === "Enter") {
    choose(byNumber.get(Number(event.target.closest("tr").dataset.n)));
    detail.scrollIntoView({ block: "nearest" });
  }
};
box.onkeydown = (event) => {
  if (event.key !== "ArrowDown" && event.key !== "Enter" || !order.length) return;
  event.preventDefault();
  choose(order[0]);
  body.firstChild.focus();
};
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, select")) return;
  event.preventDefault();
  box.focus();
});
box.oninput = scope.onchange = refresh;
addEventListener("hashchange", fromAddress);

function fromAddress() {
  const number = /^#latent=(\d+)$/.exec(location.hash)?.[1];
  const one = byNumber.get(Number(number));
  if (number !== undefined && one) return open(one);
  if (number !== undefined) return missing(number);
  if (!chosen && order.length) open(order[0]);
}

function missing(number) {
  chosen = null;
  mark();
  detail.replaceChildren();
  const last = Math.max(...byNumber.keys());
  add(detail, "p", { text: `There is no latent ${number} on this page; the last is ${last}.` });
}

refresh();
fromAddress();
