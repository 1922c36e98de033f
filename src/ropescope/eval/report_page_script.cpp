// Style and script of a report's page. Everything that comes from data goes in as text nodes and as the
// addresses of data: pictures, never as markup.
#include "ropescope/eval/report_page.h"

namespace ropescope::eval {

const char* const kPageStyle = R"css(
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:84em;padding:0 1em;color:#1b1f24;background:#fff}
h1{font-size:1.6em}h2{font-size:1.25em;margin-top:1.8em}
.wide{overflow-x:auto}
table{border-collapse:collapse;margin:.6em 0;font-size:14px}
th,td{border-bottom:1px solid #d5d9de;padding:.3em .6em;text-align:left;vertical-align:top}
th{white-space:nowrap}
th.n,td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.why{min-width:20em}td.split{min-width:13em}th.group{background:#f3f4f6;white-space:normal}
.figure{display:block;width:min(100%,56em);margin:.8em 0}
.bar{display:flex;flex-wrap:wrap;gap:.5em 1.2em;align-items:center;margin:.6em 0}
input,select,button{font:inherit;padding:.15em .4em}
input.word{width:16em}input.record{width:6em}
.item{border:1px solid #d5d9de;border-radius:6px;padding:1em;display:grid;gap:1em 1.5em;grid-template-columns:minmax(0,22em) minmax(0,1fr)}
.item.blind{grid-template-columns:minmax(0,1fr)}
.pictures img{display:block;width:100%;height:auto;margin-bottom:.4em;background:#eee}
.answers{display:grid;gap:1em;grid-template-columns:repeat(auto-fit,minmax(15em,1fr));margin-top:1em}
.answer{border-radius:6px;padding:.7em .9em;border-left:5px solid}
.right{background:#e9f5ec;border-color:#1a7f37}.wrong{background:#fcefee;border-color:#c0392b}.none{background:#f3f4f6;border-color:#9aa1a9}
.answer h3{margin:0 0 .3em;font-size:1em}
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:.2em 0;font:13.5px/1.45 ui-monospace,monospace}
small{color:#57606a;display:block}
.maps{display:flex;flex-wrap:wrap;gap:.8em;margin-top:.7em}
.maps figure{margin:0;flex:1 1 10em;max-width:17em}.maps img{width:100%;height:auto;display:block}
.maps figcaption{font-size:12.5px;color:#424a53}
img.coarse{image-rendering:pixelated}
@media(max-width:50em){.item{grid-template-columns:minmax(0,1fr)}}
)css";

const char* const kPageScript = R"js("use strict";
const report = JSON.parse(document.getElementById("report").textContent);
let pictures = null;  // read when the first one is shown
const main = document.getElementById("main");
main.replaceChildren();

function add(parent, name, text, style) {
  const element = document.createElement(name);
  if (text !== undefined && text !== null) element.textContent = text;
  if (style) element.className = style;
  parent.appendChild(element);
  return element;
}
function fixed(x, sign) {
  return x === null || x === undefined ? "–" : (sign && x > 0 ? "+" : "") + x.toFixed(2);
}
function range(i) { return i ? fixed(i[0]) + " – " + fixed(i[1]) : "–"; }
function n(text) { return {text: String(text), style: "n"}; }
/// A row is a list of cells, or a text that stands above the rows behind it.
function table(parent, heads, rows) {
  const t = add(add(parent, "div", null, "wide"), "table"), head = add(add(t, "thead"), "tr");
  const numbers = i => rows.every(row => typeof row === "string" || row[i].style === "n");
  heads.forEach((x, i) => add(head, "th", x, rows.length && numbers(i) ? "n" : undefined));
  const body = add(t, "tbody");
  for (const row of rows) {
    const tr = add(body, "tr");
    if (typeof row === "string") {
      add(tr, "th", row, "group").colSpan = heads.length;
      continue;
    }
    row.forEach(cell => add(tr, "td", cell.text ?? cell, cell.style));
  }
}
function picture(parent, place, alt) {
  if (pictures === null) pictures = JSON.parse(document.getElementById("pictures").textContent);
  const [uri, width, height] = pictures[place], img = document.createElement("img");
  img.alt = alt;
  img.width = width;  // its place is kept before it is decoded
  img.height = height;
  img.addEventListener("load", () => { if (img.naturalWidth < 250) img.className = "coarse"; });
  img.src = uri;
  parent.appendChild(img);
  return width + " × " + height + " pixels";
}

// ---- tables

add(main, "h1", "Paper and measurement");
const contents = add(main, "nav", null, "bar");
function section(title) {
  const heading = add(main, "h2", title);
  add(contents, "button", title).addEventListener("click", () => heading.scrollIntoView());
  return heading;
}
section("Runs");
table(main, ["run", "benchmark", "model", "scheme", "profile", "policy", "items", "failed", "percent", "95 % interval"],
  report.runs.map(r => [r.name, r.benchmark, String(r.model), r.scheme, String(r.profile), String(r.policy), n(r.items),
    n(r.failed), n(fixed(r.percent)), n(range(r.interval))]));
if (report.comparisons.length) {
  section("Runs on the same questions");
  table(main, ["benchmark", "a", "b", "b − a, points", "95 % interval (paired bootstrap)", "n", "only a right",
    "only b right", "McNemar p"],
    report.comparisons.map(c => [c.benchmark, c.a, c.b, n(fixed(c.difference, true)), n(range(c.interval)), n(c.n),
      n(c.only_a ?? "–"), n(c.only_b ?? "–"), n(c.p === null ? "–" : c.p.toFixed(4))]));
}
for (const name of [...new Set(report.rows.map(r => r.table))]) {
  section("Paper " + name.split(":")[0] + ", table " + name.split(":")[1]);
  if (report.figures[name]) {
    const img = add(main, "img", null, "figure");
    img.alt = "The table's figures as bars: paper and measured";
    img.src = report.figures[name];
  }
  const lines = [];
  let group = null;
  for (const r of report.rows.filter(r => r.table === name)) {
    const title = [r.model, r.method].filter(x => x !== "").join(": ");
    if (title !== group) lines.push(title);
    group = title;
    lines.push([r.column, n(fixed(r.paper)), n(fixed(r.measured)),
      n(r.paper === null || r.measured === null ? "–" : fixed(r.measured - r.paper, true)), n(range(r.interval)),
      n(fixed(r.standard_error)), n(r.n ?? "–"), r.profile === "" ? "–" : r.profile + ", " + r.policy,
      {text: r.split === "" ? "–" : r.split, style: "split"}, {text: r.why, style: "why"}]);
  }
  table(main, ["column", "paper", "measured", "difference", "95 % interval", "std. error", "n", "profile, policy",
    "split used", "why"], lines);
}
if (report.notes.length) {
  section("Notes");
  const list = add(main, "ul");
  report.notes.forEach(x => add(list, "li", x));
}

// ---- items: only the one that is shown is built

const itemsHeading = section("Items");
const choice = add(main, "div", null, "bar"), bar = add(main, "div", null, "bar");
function pick(parent, label, id, names) {
  const select = add(add(parent, "label", label + " "), "select");
  select.id = id;
  fill(select, names);
  return select;
}
function fill(select, names) {
  select.replaceChildren();
  names.forEach((name, i) => { add(select, "option", name).value = i; });
}
function button(parent, id, text, title, act) {
  const b = add(parent, "button", text);
  b.id = id;
  b.title = title;
  b.addEventListener("click", act);
}
const setChoice = pick(choice, "data", "set", report.sets.map(s => s.name));
const aChoice = pick(choice, "A", "a", []), bChoice = pick(choice, "B", "b", []);
const FILTERS = ["all", "the answers differ", "right in A, wrong in B", "wrong in A, right in B", "wrong in A",
  "wrong in B", "failed", "with attention maps"];
const filter = pick(choice, "show", "filter", FILTERS);
const word = add(add(choice, "label", "containing "), "input", null, "word");
word.id = "word";
word.type = "search";
button(bar, "previous", "← previous", "key: left arrow", () => step(-1));
button(bar, "next", "next →", "key: right arrow", () => step(1));
const jump = add(add(bar, "label", "record "), "input", null, "record");
jump.id = "record";
jump.inputMode = "numeric";
const count = add(bar, "span");
count.id = "count";
count.setAttribute("aria-live", "polite");
const notes = add(main, "div"), place = add(main, "div");
place.id = "item";
let found = [], at = 0;

function set() { return report.sets[setChoice.value]; }
function isRight(answer) { return answer !== null && answer.score >= 0.5; }
function isWrong(answer) { return answer !== null && answer.score < 0.5; }
function shown(item) {
  const b = Number(bChoice.value) - 1;
  return [item.answers[aChoice.value], b < 0 ? undefined : item.answers[b]];
}
function passes(item) {
  const [a, b] = shown(item);
  switch (Number(filter.value)) {
    case 1: return Boolean(a && b) && a.output !== b.output;
    case 2: return isRight(a) && Boolean(b) && isWrong(b);
    case 3: return isWrong(a) && Boolean(b) && isRight(b);
    case 4: return isWrong(a);
    case 5: return Boolean(b) && isWrong(b);
    case 6: return Boolean(a && a.error !== undefined) || Boolean(b && b.error !== undefined);
    case 7: return item.answers.some(x => x !== null && x.maps !== undefined && x.maps.length > 0);
    default: return true;
  }
}
function contains(item, text) {
  if (text === "") return true;
  const [a, b] = shown(item);
  return [String(item.record), item.prompt, item.gold, item.kind, a ? a.output : "", b ? b.output : ""]
    .some(x => String(x).toLowerCase().includes(text));
}
function chooseSet() {
  const names = set().runs.map(r => report.runs[r].name + " (" + report.runs[r].scheme + ")");
  fill(aChoice, names);
  fill(bChoice, ["–", ...names]);
  bChoice.value = names.length > 1 ? 2 : 0;
  notes.replaceChildren();
  set().notes.forEach(x => add(notes, "small", x));
  search();
}
function search() {
  const text = word.value.toLowerCase(), kept = found.length ? found[at].record : null;
  found = set().items.filter(item => passes(item) && contains(item, text));
  at = Math.max(0, found.findIndex(item => item.record === kept));
  show();
}
function step(by) {
  if (found.length === 0) return;
  at = (at + by + found.length) % found.length;
  show();
}
/// Shows a record of the chosen data, whatever the filter.
function openRecord(record) {
  if (!set().items.some(item => item.record === record)) {
    count.textContent = "record " + record + " is not in this page";
    return;
  }
  if (!found.some(item => item.record === record)) {
    filter.value = 0;
    word.value = "";
    search();
  }
  at = found.findIndex(item => item.record === record);
  show();
}
function address(item) {
  return "#" + (report.sets.length > 1 ? encodeURIComponent(set().name) + "/" : "") + item.record;
}
function follow() {
  let text = "";
  try { text = decodeURIComponent(location.hash.slice(1)); } catch { return; }
  const slash = text.lastIndexOf("/"), record = Number(text.slice(slash + 1));
  const named = report.sets.findIndex(s => s.name === text.slice(0, Math.max(slash, 0)));
  if (text === "" || !Number.isInteger(record)) return;
  if (named >= 0 && named !== Number(setChoice.value)) {
    setChoice.value = named;
    chooseSet();
  }
  openRecord(record);
  itemsHeading.scrollIntoView();
}
function answerBox(parent, item, index, letter) {
  const run = report.runs[set().runs[index]], answer = item.answers[index];
  const box = add(parent, "div", null, "answer " + (answer === null ? "none" : isRight(answer) ? "right" : "wrong"));
  add(box, "h3", letter + ": " + run.name + ", " + run.scheme);
  if (answer === null) {
    add(box, "small", "not asked, or not in this page");
    return;
  }
  if (answer.prompt !== undefined) add(box, "pre", "asked: " + answer.prompt);
  add(box, "pre", answer.error !== undefined ? "failed: " + answer.error : answer.output === "" ? "(empty)" : answer.output);
  add(box, "small", "score " + answer.score.toFixed(2) + (answer.read === undefined ? "" : ", read as " + answer.read));
  if (answer.maps === undefined) return;
  const maps = add(box, "div", null, "maps");
  for (const map of answer.maps) {
    const figure = add(maps, "figure");
    picture(figure, map.picture, "attention map");
    add(figure, "figcaption", map.caption);
  }
}
function show() {
  place.replaceChildren();
  const total = set().items.length;
  count.textContent = found.length === 0 ? "none of " + total + " items" :
    "item " + (at + 1) + " of " + found.length + (found.length < total ? " (" + total + " in all)" : "");
  if (found.length === 0) {
    jump.value = "";
    return;
  }
  const item = found[at];
  jump.value = item.record;
  history.replaceState(null, "", address(item));
  const blind = item.pictures.length === 0 && item.note === undefined;
  const box = add(place, "div", null, blind ? "item blind" : "item");
  if (!blind) {
    const column = add(box, "div", null, "pictures");
    item.pictures.forEach((p, i) => {
      const size = picture(column, p, "picture " + (i + 1) + " of the question");
      add(column, "small", size);
    });
    if (item.note !== undefined) add(column, "small", "picture: " + item.note);
  }
  const text = add(box, "div");
  add(text, "small", "record " + item.record + (item.kind ? " · " + item.kind : ""));
  add(text, "pre", item.prompt).id = "prompt";
  add(text, "small", "expected: " + item.gold).id = "gold";
  const answers = add(text, "div", null, "answers");
  answerBox(answers, item, Number(aChoice.value), "A");
  if (Number(bChoice.value) > 0) answerBox(answers, item, Number(bChoice.value) - 1, "B");
}
setChoice.addEventListener("change", chooseSet);
for (const control of [aChoice, bChoice, filter]) control.addEventListener("change", search);
word.addEventListener("input", search);
jump.addEventListener("change", () => openRecord(Number(jump.value)));
document.addEventListener("keydown", event => {
  if (event.altKey || event.ctrlKey || event.metaKey || ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName)) return;
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
window.addEventListener("hashchange", follow);
if (report.sets.length) {
  const asked = location.hash;  // showing the first item changes it
  chooseSet();
  if (asked.length > 1) {
    history.replaceState(null, "", asked);
    follow();
  }
}
add(main, "p", "A score of 0.5 or more counts as right here; the tables above use the scores themselves.");
)js";

}  // namespace ropescope::eval
