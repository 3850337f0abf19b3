"use strict";
const data = JSON.parse(document.getElementById("pairs").textContent);
const by = (id) => document.getElementById(id);
const all = data.pairs.length;
let answers = new Array(all).fill(null), at = 0, saved = true;
// A browser may remember, or refuse to: then answers last as long as the page.
const place = "tempest-sheet-" + data.id;
try {
  const kept = JSON.parse(localStorage.getItem(place));
  if (Array.isArray(kept) && kept.length === all) answers = kept;
} catch {}

const done = () => answers.filter((answer) => answer !== null).length;

function show(to) {
  at = Math.min(all - 1, Math.max(0, to));
  by("left").textContent = data.pairs[at][0];
  by("right").textContent = data.pairs[at][1];
  by("left").scrollTop = by("right").scrollTop = 0;
  by("count").textContent = `Pair ${at + 1} of ${all}`;
  by("progress").value = done();
  by("status").textContent = done() === all ? "All pairs are answered: save the answers." : `${done()} of ${all} answered`;
  for (const choice of ["left", "right", "tie"]) {
    by("choose-" + choice).setAttribute("aria-pressed", String(answers[at] === choice));
  }
  by("previous").disabled = at === 0;
  by("next").disabled = at === all - 1;
}

function choose(choice) {
  answers[at] = choice;
  saved = false;
  try {
    localStorage.setItem(place, JSON.stringify(answers));
  } catch {}
  const open = answers.findIndex((answer, i) => answer === null && i > at);
  show(open >= 0 ? open : at);
}

function save() {
  const file = new Blob([JSON.stringify({ key: data.key, answers }) + "\n"], { type: "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = "answers.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  saved = true;
  by("status").textContent = `Saved as answers.json, ${done()} of ${all} answered`;
}

for (const choice of ["left", "right", "tie"]) by("choose-" + choice).addEventListener("click", () => choose(choice));
by("previous").addEventListener("click", () => show(at - 1));
by("next").addEventListener("click", () => show(at + 1));
by("save").addEventListener("click", save);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const act = { 1: () => choose("left"), 2: () => choose("right"), 0: () => choose("tie"), ArrowLeft: () => show(at - 1), ArrowRight: () => show(at + 1) }[event.key];
  // In a text that is longer than its box, arrows scroll.
  if (!act || (event.target.closest("pre") && event.key.startsWith("Arrow"))) return;
  event.preventDefault();
  act();
});
addEventListener("beforeunload", (event) => { if (!saved) event.preventDefault(); });
by("sheet").hidden = false;
by("progress").max = all;
show(Math.max(0, answers.findIndex((answer) => answer === null)));
