"use strict";
// Thirty records at a time, each to be rejected, kept or left unanswered. One click or key sends the answers, another
// one undoes them all. A tile with several faces can be answered only after one of them was chosen.

const STATES = ["", "reject", "keep"];
const WORDS = { "": "no answer", reject: "reject", keep: "keep" };
const grid = byId("grid");
const most = Number(grid.dataset.most);
const shown = new Map(); // records by id
let touched = null; // the tile from which a Shift-click range begins
let first;
let last;
let working = 0;
let busy = Promise.resolve();

function next(work) {
  working += 1;
  busy = busy.then(work).catch(tell).finally(() => { working -= 1; });
  return busy;
}

function tiles() { return [...grid.children]; }

function set(tile, state) {
  tile.dataset.state = state;
  tile.querySelector(".state").textContent = undecided(tile) ? `${recordOf(tile).faces.length} faces: choose one (F)` : WORDS[state];
  tile.setAttribute("aria-label", `${textOf(tile)}: ${tile.querySelector(".state").textContent}`);
  byId("count").textContent = tiles().filter((one) => one.dataset.state).length;
}

async function load(after, at) {
  const asked = filters();
  asked.set("by", nameField.value.trim());
  asked.set("limit", most);
  asked.set("tiles", true);
  if (after !== undefined) asked.set("after", after);
  if (at !== undefined) asked.set("at", at);
  const state = await call(`/api/queue?${asked}`);
  progress(state);
  const found = state.tiles;
  shown.clear();
  touched = null;
  grid.replaceChildren(...found.map((record) => {
    shown.set(record.id, record);
    const text = agesOf(record, record.meant);
    const checks = record.reasons.map((name) => name.replaceAll("_", " ")).join(", ");
    const tile = element("button", { class: "tile", type: "button", "data-id": record.id, "data-seal": record.seal, "data-keepable": String(record.readable && record.age !== null && record.age >= 0 && record.age <= 99), "data-checks": checks },
      framed(record, record.readable ? pictureOf(record.id, pictureSide()) : "/static/none.svg"),
      element("span", { class: "state" }), element("span", { class: "ages" }, text), element("span", { class: "checks" }, checks));
    tile.addEventListener("click", (event) => {
      const box = event.target.closest(".box");
      if (box && record.faces.length > 1) { chooseFace(tile, Number(box.dataset.face)); return; }
      if (event.shiftKey && touched) { range(touched, tile); return; }
      touched = tile;
      if (undecided(tile)) { banner("Choose the face first: click it, or press F.", false, 6); return; }
      const states = STATES.filter((state) => fits(tile, state));
      set(tile, states[(states.indexOf(tile.dataset.state) + 1) % states.length]);
    });
    return tile;
  }));
  for (const tile of tiles()) set(tile, "");
  window.scrollTo(0, 0); // the first tile is above what was last looked at
  first = state.records[0];
  last = state.records.at(-1);
  byId("empty").hidden = found.length > 0;
  byId("empty-text").textContent = [...filters()].length ? "No waiting record matches the filters." : `Run "${curate}" to apply the answers.`;
  say(`${found.length} records.`);
  if (found.length && document.activeElement === document.body) tiles()[0].focus();
}

// A record cannot be kept as it is if its claimed age is not an age or its picture cannot be read.
function fits(tile, state) { return !state || (!undecided(tile) && (state !== "keep" || tile.dataset.keepable === "true")); }

// The claimed age, and how old a face looks. number: its position among the record's faces.
function agesOf(record, number) {
  const looks = number === null ? record.suggested_age : record.faces[number].suggested_age;
  const estimate = looks !== null ? `, looks ${looks.toFixed(0)}` : number !== record.meant ? ", this face has no estimate" : "";
  return `claims ${record.age ?? "no age"}${estimate}`;
}

function textOf(tile) { return `${recordOf(tile).path}, ${tile.querySelector(".ages").textContent}, ${tile.dataset.checks}`; }

function recordOf(tile) { return shown.get(Number(tile.dataset.id)); }

function undecided(tile) { return recordOf(tile).faces.length > 1 && tile.dataset.face === undefined; }

// A picture with its faces marked, at the place where `object-fit: contain` puts it in a square.
function framed(record, source) {
  const frame = element("span", { class: "shot" }, element("img", { src: source, alt: "" }));
  if (!record.readable || !record.width) return frame;
  const side = Math.max(record.width, record.height);
  const [left, top] = [(side - record.width) / 2, (side - record.height) / 2];
  record.faces.forEach((face, number) => {
    if (record.faces.length === 1 && record.meant === null) return;
    const box = element("span", { class: `box${number === record.meant ? " meant" : ""}`, "data-face": number });
    box.style.left = `${100 * (left + face.x) / side}%`;
    box.style.top = `${100 * (top + face.y) / side}%`;
    box.style.width = `${100 * face.w / side}%`;
    box.style.height = `${100 * face.h / side}%`;
    frame.append(box);
  });
  return frame;
}

function chooseFace(tile, number) {
  tile.dataset.face = number;
  for (const box of tile.querySelectorAll(".box")) box.classList.toggle("meant", Number(box.dataset.face) === number);
  tile.querySelector(".ages").textContent = agesOf(recordOf(tile), number);
  set(tile, tile.dataset.state);
  say(`Face ${number + 1} of ${recordOf(tile).faces.length} is chosen.`);
}

// The first press chooses the marked face, each further press the next one.
function nextFace(tile) {
  const record = recordOf(tile);
  if (record.faces.length < 2) return;
  const now = tile.dataset.face;
  chooseFace(tile, now === undefined ? record.meant ?? 0 : (Number(now) + 1) % record.faces.length);
}

// All tiles from the one clicked last to this one get the answer of the first.
function range(from, to) {
  const all = tiles();
  const [low, high] = [all.indexOf(from), all.indexOf(to)].sort((a, b) => a - b);
  for (const tile of all.slice(low, high + 1)) if (fits(tile, from.dataset.state)) set(tile, from.dataset.state);
}

function enlarge(tile) {
  const record = recordOf(tile);
  const large = framed({ ...record, meant: Number(tile.dataset.face ?? record.meant ?? -1) }, record.readable ? pictureOf(record.id, 1280) : "/static/none.svg");
  byId("large-picture").replaceChildren(large);
  byId("large-text").textContent = textOf(tile);
  byId("large").showModal();
}

// Only tiles that can be seen: one whose picture is not loaded yet is left out.
function mark(state) {
  for (const tile of tiles()) if (!state || (fits(tile, state) && tile.querySelector("img").complete)) set(tile, state);
}

function send() {
  if (working) return; // these tiles are being sent, or replaced
  next(async () => {
    const answers = tiles().filter((one) => one.dataset.state)
      .map(answerOf);
    if (!answers.length) { banner("Mark at least one tile first.", false, 6); return; }
    const place = first;
    await call("/api/answer", { by: reviewer(), answers, grid: true });
    given += answers.length;
    await load(undefined, place);
    banner(`${answers.length} answered; Undo takes back all of them.`, false, 6);
  });
}

function answerOf(tile) {
  const one = { record: Number(tile.dataset.id), seal: tile.dataset.seal, answer: tile.dataset.state };
  if (tile.dataset.face === undefined) return one;
  const { face_no, x, y, w, h } = recordOf(tile).faces[Number(tile.dataset.face)];
  return one.answer === "keep" ? { ...one, face_no, answer: "face", box: [x, y, w, h] } : { ...one, face_no };
}

function undo() {
  next(async () => {
    const { undone } = await call("/api/undo", { by: reviewer() });
    if (undone) given = Math.max(0, given - undone.records);
    await load(undefined, undone?.record_id ?? undefined);
    banner(!undone ? "You have no answer to undo."
      : undone.records > 1 ? `Undone: ${undone.records} answers.` : `Undone: ${undone.answer} for ${undone.path}.`, false, 8);
  });
}

function move(event) {
  const all = tiles();
  const at = all.indexOf(document.activeElement);
  if (at < 0) { all[0]?.focus(); return; }
  const columns = all.filter((one) => one.offsetTop === all[0].offsetTop).length;
  const step = { arrowright: 1, arrowleft: -1, arrowdown: columns, arrowup: -columns }[event.key.toLowerCase()];
  all[Math.min(all.length - 1, Math.max(0, at + step))].focus();
}

document.addEventListener("keydown", (event) => {
  if (typing(event)) return;
  const key = event.key.toLowerCase();
  if (key.startsWith("arrow")) move(event);
  else if (key === "r") mark("reject");
  else if (key === "k") mark("keep");
  else if (key === "n") mark("");
  else if (key === "enter" && !event.repeat && event.target.tagName !== "A" && event.target.tagName !== "SUMMARY" && !event.target.closest(".actions")) send();
  else if (key === "s") next(() => load(last));
  else if (key === "u") undo();
  else if (key === "f" && grid.contains(event.target)) nextFace(event.target);
  else if (key === "e" && grid.contains(event.target)) enlarge(event.target);
  else return;
  event.preventDefault();
});

byId("large").addEventListener("keydown", (event) => { if (event.key.toLowerCase() === "e") byId("large").close(); });

// The size of the tiles is remembered.
const size = byId("size");
function resize() { grid.style.setProperty("--tile", `${size.value}px`); }
function pictureSide() { return Number(size.value) > 240 ? 640 : 320; }
size.value = localStorage.getItem("agebench-tile") || Math.max(160, Math.min(240, window.innerWidth / 8));
size.addEventListener("input", () => { resize(); localStorage.setItem("agebench-tile", size.value); });
size.addEventListener("change", () => {
  for (const tile of tiles()) if (recordOf(tile).readable) tile.querySelector("img").src = pictureOf(tile.dataset.id, pictureSide());
});
resize();

byId("mark-reject").addEventListener("click", () => mark("reject"));
byId("mark-keep").addEventListener("click", () => mark("keep"));
byId("mark-none").addEventListener("click", () => mark(""));
byId("send").addEventListener("click", (event) => { if (event.detail < 2) send(); });
byId("skip").addEventListener("click", () => next(() => load(last)));
byId("undo").addEventListener("click", undo);
document.addEventListener("again", () => next(() => load()));
next(() => load());
