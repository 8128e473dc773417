// Numbers for heat maps. live.py writes them behind the picture, and where in it the cells lie;
// here a cell that is pointed at says what it holds. A mouse click grows the picture, as of any
// figure. A tap reads a cell, and a second tap on it grows the picture. With the keyboard: Tab to
// the picture, then the arrow keys; Escape puts the numbers away.
"use strict";

for (const data of document.querySelectorAll("script.cells")) {
  heatMap(data.previousElementSibling, JSON.parse(data.textContent));
}

function heatMap(figure, { rows, columns, names, decimals, values, box }) {
  const image = figure.querySelector("img"), frame = document.createElement("i");
  const tip = document.createElement("output");
  const [left, top, width, height] = box;
  const first = values.findIndex((row) => row.some((value) => value !== null)); // with a number
  let at = null, touched = false; // the cell shown, and whether a finger did it
  let keys = [first, values[first]?.findIndex((value) => value !== null)]; // where the keys are
  frame.className = "cell";
  tip.className = "tip";
  tip.setAttribute("aria-live", "polite");
  figure.append(frame);
  figure.after(tip);
  image.tabIndex = 0;
  image.setAttribute("role", "application");
  image.setAttribute("aria-label", `${image.alt}. Arrow keys read the cells.`);
  hide();

  function hide() {
    at = null;
    frame.hidden = tip.hidden = true;
  }

  function hit(event) { // the cell under the pointer, as [row, column]
    const sides = image.getBoundingClientRect();
    const x = (event.clientX - sides.left) / sides.width - left;
    const y = (event.clientY - sides.top) / sides.height - top;
    const row = Math.floor(y / height * rows.length);
    const column = Math.floor(x / width * columns.length);
    return values[row]?.[column] === undefined ? null : [row, column];
  }

  function show(cell) {
    const value = cell && (values[cell[0]]?.[cell[1]] ?? null);
    if (value === null) return hide(); // beside the cells, or a cell without a number
    if (at && String(at) === String(cell)) return;
    at = cell;
    const [row, column] = cell, across = width / columns.length, down = height / rows.length;
    frame.hidden = tip.hidden = false;
    frame.style.left = `${image.offsetLeft + image.offsetWidth * (left + column * across)}px`;
    frame.style.top = `${image.offsetTop + image.offsetHeight * (top + row * down)}px`;
    frame.style.width = `${image.offsetWidth * across}px`;
    frame.style.height = `${image.offsetHeight * down}px`;
    tip.replaceChildren();
    say(names[2], (value / 10 ** decimals).toFixed(decimals));
    say(names[0], rows[row]);
    say(names[1], columns[column]);
    if (touched) tip.append("tap again for the other size");
    place();
  }

  function say(name, text) {
    const line = document.createElement("div"), strong = document.createElement("b");
    strong.textContent = text;
    line.append(name ? `${name}: ` : "", strong);
    tip.append(line);
  }

  function place() { // above the cell or, where there is no room, below
    const cell = frame.getBoundingClientRect(), own = tip.getBoundingClientRect();
    const room = document.documentElement.clientWidth - own.width - 4;
    const x = cell.left + cell.width / 2 - own.width / 2, above = cell.top - own.height - 8;
    tip.style.left = `${Math.max(4, Math.min(room, x))}px`;
    tip.style.top = `${above > 4 ? above : cell.bottom + 8}px`;
  }

  image.onpointerdown = (event) => { touched = event.pointerType !== "mouse"; };
  image.onpointermove = (event) => { if (event.pointerType === "mouse") show(hit(event)); };
  image.onpointerleave = (event) => { if (event.pointerType === "mouse") hide(); };
  image.onclick = (event) => {
    const cell = hit(event);
    if (touched && cell && values[cell[0]][cell[1]] !== null && String(at) !== String(cell)) {
      event.preventDefault(); // read, do not grow
      show(cell);
    } else {
      hide();
    }
  };
  image.onfocus = () => { if (image.matches(":focus-visible") && !touched) show(keys); };
  image.onblur = hide;
  image.onkeydown = (event) => {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (event.key === "Escape") hide();
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    touched = false;
    const next = at ? [keys[0] + step[0], keys[1] + step[1]] : keys;
    if ((values[next[0]]?.[next[1]] ?? null) !== null) keys = next;
    show(keys);
  };
  addEventListener("scroll", () => at && place(), true);
  addEventListener("resize", hide);
}
