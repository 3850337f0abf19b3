"use strict";
const data = JSON.parse(document.getElementById("recording").textContent);
const by = (id) => document.getElementById(id);
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
// Of a step: a position, a symbol (-1: it is open again), how sure the model was in percent (-1: unknown).
const WIDTH = 3;
const last = Math.max(...data.texts.map((text) => text.steps.length));
let now = 0, timer = null, direction = 1;

const texts = data.texts.map((text) => {
  const box = by("text-" + text.number);
  box.textContent = "";
  const cells = Array.from({ length: text.length }, (_, at) => {
    const symbol = at < text.start.length ? text.start[at] : -1;
    const span = document.createElement("span");
    span.dataset.at = at;
    box.append(span);
    return { span, symbol, sure: -1, step: 0, given: symbol >= 0, shown: null };
  });
  // What a step replaces, so that it can be taken back.
  const undo = text.steps.map((changes, i) => {
    const before = [];
    for (let c = 0; c < changes.length; c += WIDTH) {
      const cell = cells[changes[c]];
      before.push([changes[c], cell.symbol, cell.sure, cell.step]);
      Object.assign(cell, { symbol: changes[c + 1], sure: changes[c + 2], step: i + 1 });
    }
    return before;
  });
  return { ...text, box, cells, undo, done: text.steps.length, cursor: -1 };
});

function go(text, to) {
  while (text.done > to) {
    text.done -= 1;
    const before = text.undo[text.done];
    for (let i = before.length - 1; i >= 0; i -= 1) {
      const [at, symbol, sure, step] = before[i];
      Object.assign(text.cells[at], { symbol, sure, step });
    }
  }
  while (text.done < to) {
    const changes = text.steps[text.done];
    text.done += 1;
    for (let c = 0; c < changes.length; c += WIDTH) {
      Object.assign(text.cells[changes[c]], { symbol: changes[c + 1], sure: changes[c + 2], step: text.done });
    }
  }
}

// Control characters as their pictures; a line's end also ends the line.
function shape(symbol) {
  if (symbol < 0) return "·";
  return data.symbols[symbol].replace(/[\u0000-\u0008\u000b-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)));
}

function draw(text) {
  for (const cell of text.cells) {
    const fresh = cell.step > 0 && cell.step === text.done && now > 0 && now <= text.steps.length;
    const key = cell.symbol + "," + cell.sure + "," + cell.step + "," + fresh;
    if (cell.shown === key) continue;
    cell.shown = key;
    cell.span.textContent = shape(cell.symbol);
    const kind = cell.symbol < 0 ? "open" : cell.given && cell.step === 0 ? "given" : "written";
    cell.span.className = kind + (fresh ? " new" : "");
    if (kind !== "written") continue;
    cell.span.style.setProperty("--unsure", cell.sure < 0 ? 0 : 1 - cell.sure / 100);
    cell.span.style.setProperty("--late", cell.step / text.steps.length);
  }
}

function plain(text) {
  return text.cells.map((cell) => shape(cell.symbol)).join("");
}

function status() {
  const open = texts.reduce((sum, text) => sum + text.cells.filter((cell) => cell.symbol < 0).length, 0);
  const all = texts.reduce((sum, text) => sum + text.length, 0);
  return `Step ${now} of ${last}: ${all - open} of ${all} ${data.unit}s known`;
}

// What a screen reader finds where the characters are: each text as it stands.
function read() {
  for (const text of texts) by("plain-" + text.number).textContent = plain(text);
}

// What is told aloud: where things stand when nothing moves, not every step on the way.
function tell(words) {
  by("heard").textContent = words;
}

function show(step, aloud) {
  now = Math.min(last, Math.max(0, step));
  for (const text of texts) {
    go(text, Math.min(now, text.steps.length));
    draw(text);
  }
  by("scrub").value = now;
  by("scrub").setAttribute("aria-valuetext", status());
  by("status").textContent = status();
  if (aloud) {
    read();
    tell(status());
  }
}

function stop() {
  if (timer !== null) clearInterval(timer);
  timer = null;
  by("play").textContent = "Play";
  by("back").textContent = "Play backwards";
  by("play").setAttribute("aria-pressed", "false");
  by("back").setAttribute("aria-pressed", "false");
}

function play(way) {
  const same = timer !== null && direction === way;
  stop();
  if (same) return show(now, true);
  direction = way;
  if (way > 0 && now === last) show(0, false);
  if (way < 0 && now === 0) show(last, false);
  const button = by(way > 0 ? "play" : "back");
  button.textContent = "Pause";
  button.setAttribute("aria-pressed", "true");
  tell(way > 0 ? "playing" : "playing backwards");
  timer = setInterval(() => {
    show(now + way, false);
    if (now === 0 || now === last) {
      stop();
      show(now, true);
    }
  }, 1000 / Number(by("speed").value));
}

function describe(text, at) {
  const cell = text.cells[at];
  const name = { "\n": "line end", " ": "space" }[shape(cell.symbol)] || shape(cell.symbol);
  if (cell.symbol < 0) return `${at + 1}: open`;
  if (cell.given && cell.step === 0) return `${at + 1}: ${name}, given`;
  const sure = cell.sure < 0 ? "" : `, ${cell.sure} % sure`;
  return `${at + 1}: ${name}${sure}, step ${cell.step}`;
}

function tip(text, at) {
  const box = by("tip"), place = text.cells[at].span.getBoundingClientRect();
  box.textContent = describe(text, at);
  box.hidden = false;
  box.style.left = Math.max(4, Math.min(place.left, innerWidth - box.offsetWidth - 4)) + "px";
  const above = place.top - box.offsetHeight - 6;
  box.style.top = (above > 4 ? above : place.bottom + 6) + "px";
}

function move(text, at) {
  if (text.cells[text.cursor]) text.cells[text.cursor].span.classList.remove("at");
  text.cursor = Math.min(text.length - 1, Math.max(0, at));
  text.cells[text.cursor].span.classList.add("at");
  text.cells[text.cursor].span.scrollIntoView({ block: "nearest" });
  tip(text, text.cursor);
  tell(describe(text, text.cursor));
}

for (const text of texts) {
  text.box.addEventListener("pointerover", (event) => {
    const at = event.target.dataset.at;
    if (at !== undefined) tip(text, Number(at));
  });
  text.box.addEventListener("pointerleave", () => { by("tip").hidden = true; });
  text.box.addEventListener("keydown", (event) => {
    const to = { ArrowRight: text.cursor + 1, ArrowLeft: text.cursor - 1, Home: 0, End: text.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    move(text, to);
  });
  text.box.addEventListener("blur", () => {
    by("tip").hidden = true;
    if (text.cells[text.cursor]) text.cells[text.cursor].span.classList.remove("at");
  });
}

by("play").addEventListener("click", () => play(1));
by("back").addEventListener("click", () => play(-1));
by("next").addEventListener("click", () => { stop(); show(now + 1, true); });
by("previous").addEventListener("click", () => { stop(); show(now - 1, true); });
by("scrub").max = last;
by("scrub").addEventListener("input", () => { stop(); show(Number(by("scrub").value), false); });
by("scrub").addEventListener("change", () => show(now, true));
by("speed").addEventListener("change", () => {
  if (timer === null) return;
  const way = direction;
  stop();
  play(way);
});
function colour() {
  by("replay").className = "by-" + by("colour").value;
  by("low").textContent = by("colour").value === "step" ? "early" : "unsure";
  by("high").textContent = by("colour").value === "step" ? "late" : "sure";
}
by("colour").addEventListener("change", colour);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("button,select,input")) return;
  const act = {
    " ": () => play(1),
    ArrowRight: () => { stop(); show(now + 1, true); },
    ArrowLeft: () => { stop(); show(now - 1, true); },
    Home: () => { stop(); show(0, true); },
    End: () => { stop(); show(last, true); },
  }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

by("controls").hidden = by("settings").hidden = false;
colour();
// Who wants nothing to move sees the finished texts first.
show(still ? last : 0, false);
read();
