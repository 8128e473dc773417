// One latent in full, for the page of all latents (latents.js, which also writes its numbers).
"use strict";

const GROUPS = ["Where it is strongest, one token of each document",
  "At random, from the strongest quarter of the tokens where it is on", "From the second quarter",
  "From the third quarter", "From the weakest quarter"];

function drawDetail(one) {
  detail.replaceChildren();
  const top = add(detail, "div", { class: "top" });
  add(top, "h2", { text: `latent ${one.n}` });
  for (const [text, by] of [["previous", -1], ["next", 1]]) {
    add(top, "button", { type: "button", text }).onclick = () => step(by, false);
  }
  const facts = add(detail, "dl", {});
  const fact = (name, text) => {
    add(facts, "dt", { text: name });
    return add(facts, "dd", { text });
  };
  const tokens = data.n_tokens.toLocaleString("en");
  if (!one.count) {
    fact("dead", `never on in ${tokens} tokens`);
    return links(fact("alike", ""), one.near, hundredths);
  }
  fact("on", `at ${one.count.toLocaleString("en")} of ${tokens} tokens (${rate(one)}), ` +
    `${hundredths(one.mean)} in the mean there, ${hundredths(one.most)} at most`);
  if (one.best) {
    const [, f1, precision, recall, least] = one.best;
    const told = fact("best true feature", `${featureOf(one)}, F1 ${hundredths(f1)}, where it is ` +
      `at least ${hundredths(least)}: ${precision} % of these tokens have it, ${recall} % of all ` +
      "that do");
    told.classList.add("truth");
  }
  if (one.lost != null) {
    const where = data.documents > 1 ? `in up to ${data.documents} documents` : "in one document";
    fact("lost without it", `${nats(one.lost)} nats at each of these tokens, measured ${where}`);
  }
  fact("words, by activation", list(one.at, (share) => `${share} %`));
  links(fact("alike in direction", ""), one.near, hundredths);
  links(fact("on at the same tokens", ""), one.with, (share) => `${share} %`);
  one.seen.forEach((some, i) => {
    add(detail, "h3", { text: GROUPS[i] });
    for (const context of some) drawContext(detail, context, one.most);
  });
  const charts = add(detail, "div", { class: "charts" });
  drawHistogram(add(charts, "figure", {}), one);
  drawWords(add(charts, "figure", {}), one);
}

function links(place, pairs, say) {
  for (const [n, number] of pairs) {
    if (byNumber.has(n)) add(place, "a", { href: `#latent=${n}`, text: n });
    else add(place, "span", { text: n });
    place.append(` (${say(number)}) `);
  }
}

function drawContext(place, [document, start, length, at, on], most) {
  const line = add(place, "p", { class: "context" }), values = new Map(on);
  data.texts[document].slice(start, start + length).forEach((id, i) => {
    if (words[id].startsWith(" ")) line.append(" "); // beside the shade, and there a line may end
    const token = add(line, "span", { class: i === at ? "token at" : "token" });
    add(token, "span", { text: words[id].trim() });
    if (words[id].endsWith(" ")) line.append(" ");
    if (!values.has(i)) return;
    token.style.setProperty("--share", Math.min(1, values.get(i) / most));
    add(token, "small", { text: hundredths(values.get(i)) });
  });
}

function drawHistogram(figure, one) {
  add(figure, "figcaption", { text: "how strong, at how many tokens (log scale)" });
  const bars = add(figure, "div", { class: "bars", role: "img", "aria-label":
    `histogram: ${one.bins.join(", ")} tokens from 0 to ${hundredths(one.most)}` });
  const high = Math.log1p(Math.max(...one.bins)), step = one.most / 100 / one.bins.length;
  one.bins.forEach((count, i) => {
    const ends = [i, i + 1].map((edge) => (edge * step).toFixed(2)).join(" to ");
    const bar = add(bars, "i", { title: `${ends}: ${count.toLocaleString("en")} tokens` });
    bar.style.setProperty("--share", Math.log1p(count) / high);
  });
  const ends = add(figure, "div", { class: "ends soft" });
  for (const text of ["0", hundredths(one.most)]) add(ends, "span", { text });
}

function drawWords(figure, one) {
  add(figure, "figcaption", { text: "what it adds to a next word's logit (the direct way only)" });
  const table = add(figure, "table", {}), all = [...one.up, ...one.down.toReversed()];
  const high = Math.max(...all.map(([, number]) => Math.abs(number)), 1);
  for (const [id, number] of all) {
    const row = add(table, "tr", {});
    add(row, "th", { scope: "row", text: word(id) });
    add(row, "td", { text: signed(number) });
    const bar = add(add(row, "td", { class: "bar" }), "i", { class: number < 0 ? "less" : "more" });
    bar.style.setProperty("--share", Math.abs(number) / high);
  }
}

// Make an element at the end of a parent; its attributes, with `text` for what it says.
function add(parent, tag, { text = "", ...attributes }) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  parent.append(element);
  return element;
}
