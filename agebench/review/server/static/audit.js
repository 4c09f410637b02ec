"use strict";
// An audit: first how old the face looks, only then the claimed age. The server sends the claim once the first step is
// on disk; until then it is not in the browser. A key pressed before anybody can have seen what it answers is ignored.

const UNSEEN = 150; // ms after something appears within which nobody can have seen it
const AHEAD = 4;
const desk = byId("desk");
const where = `/api/audit/${desk.dataset.n}-${desk.dataset.seed}`;
const pictures = new Map();
const skipped = new Set(); // keys of readings
let queue = [];
let now = null; // the record as the server sent it for this reading
let appeared = Infinity;
let working = 0;
let busy = Promise.resolve();
let digits = "";

const key = (one) => `${one.record ?? one.id}/${one.reading}`;

// The record that the reader is looking at; null while it changes.
function seen() { return now && !working && performance.now() - appeared >= UNSEEN ? now : null; }

function next(work) {
  working += 1;
  busy = busy.then(work).catch(tell).finally(() => { working -= 1; });
  return busy;
}

async function refill() {
  const state = await call(`${where}?${new URLSearchParams({ by: nameField.value.trim() })}`);
  progress(state);
  const turn = (one) => [...skipped].indexOf(key(one)); // -1 if it was not skipped
  queue = state.waiting.toSorted((one, other) => turn(one) - turn(other));
  for (const one of queue.slice(0, AHEAD)) load(one.record);
}

function load(id) {
  if (!pictures.has(id)) {
    const picture = new Image();
    picture.src = pictureOf(id, 1280);
    picture.decode().catch(() => {});
    pictures.set(id, picture);
    if (pictures.size > 20) pictures.delete(pictures.keys().next().value);
  }
  return pictures.get(id);
}

async function advance(first) {
  await refill();
  const one = queue.find((other) => other.record === first) ?? queue[0];
  if (one) await open(one);
  else finished();
}

function finished() {
  now = null;
  desk.hidden = true;
  byId("empty").hidden = false;
  history.replaceState(null, "", location.pathname);
  say("All readings are done.");
}

async function open(one) {
  const asked = new URLSearchParams({ by: nameField.value.trim(), reading: one.reading });
  const record = await call(`${where}/${one.record}?${asked}`);
  let picture = record.readable ? load(record.id) : null;
  if (!picture) { picture = new Image(); picture.src = "/static/none.svg"; }
  await picture.decode().catch(() => {}); // the previous picture stays until this one is ready
  byId("empty").hidden = true;
  desk.hidden = false;
  byId("no-picture").hidden = record.readable;
  byId("picture").replaceWith(picture);
  picture.id = "picture";
  picture.alt = record.faces.length ? "A photograph with the face to judge marked" : "A photograph";
  const [wide, high] = record.readable && record.width ? [record.width, record.height] : [320, 240];
  byId("frame").style.width = `min(100%, calc(var(--tall) * ${wide / high}), ${wide * 5}px)`;
  picture.width = wide;
  picture.height = high;
  byId("boxes").replaceChildren(...(record.readable && record.width ? record.faces : []).map((face) => {
    const box = element("span", { class: "face", "data-meant": true });
    for (const [side, value, of] of [["left", face.x, wide], ["top", face.y, high], ["width", face.w, wide], ["height", face.h, high]]) {
      box.style[side] = `${100 * value / of}%`;
    }
    return box;
  }));
  history.replaceState(null, "", `${location.pathname}#record=${record.id}`);
  await show(record);
}

// Show the step that comes next for the record; hide the other one.
async function show(record) {
  appeared = Infinity;
  now = record;
  const step = record.looks === null ? "looks" : "judge";
  for (const part of document.querySelectorAll("[data-step]")) part.hidden = part.dataset.step !== step;
  for (const field of ["looks", "age", "note"]) byId(field).value = "";
  forget();
  claim(record);
  say(step === "looks" ? "How old does the face look?" : `Claimed age ${record.claimed}. Is it right?`);
  if (!document.hidden) await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  appeared = performance.now();
}

function claim(record) {
  const known = record.looks !== null;
  byId("claimed").textContent = known ? record.claimed : "–";
  byId("keep-text").textContent = known ? `${record.claimed} is right` : "Right";
  byId("looked").textContent = !known ? "" : record.looks === "cannot tell" ? "you could not tell how old the face looks" : `you said the face looks ${record.looks}`;
  byId("who").textContent = known ? [record.name, record.gender, record.photo_year && `photo of ${record.photo_year}`].filter(Boolean).join(", ") : "";
  byId("path").textContent = known ? `${record.part} / ${record.path}` : "";
  const others = known ? record.relatives : [];
  byId("relatives-block").hidden = !others.length;
  byId("relatives").replaceChildren(...others.map((one) => {
    const text = `${one.photo_year ?? "no year"}: ${one.age ?? "no age"}`;
    return element("figure", {},
      element("img", { alt: `Photograph, ${text}`, src: pictureOf(one.record_id, 160, "&face=true") }),
      element("figcaption", {}, text));
  }));
}

// --- answers ------------------------------------------------------------------------------------------------------

function step(name, said, after) {
  const record = seen();
  if (!record || (name === "looks") !== (record.looks === null)) return;
  next(async () => {
    if (now !== record) return;
    const sent = { by: reviewer(), record: record.id, seal: record.seal, reading: record.reading, ...said };
    let answer;
    try {
      answer = await call(`${where}/${name}`, sent);
    } catch (error) {
      if (error.kind === "UsageError") await open({ record: record.id, reading: record.reading }).catch(() => {});
      throw error;
    }
    banner("");
    await after(answer, record);
  });
}

function looks(age) { step("looks", { looks: age }, (opened) => show(opened)); }

function judge(answer, age) {
  const said = { answer };
  if (age !== undefined) said.age = age;
  if (byId("note").value.trim()) said.note = byId("note").value.trim();
  step("judge", said, async (_, record) => {
    given += 1;
    byId("last").textContent = `· last: ${answer === "keep" ? "right" : age === undefined ? "wrong" : `wrong, ${age}`}`;
    skipped.delete(key(record));
    await advance();
  });
}

function skip() {
  const record = seen();
  if (!record) return;
  next(async () => {
    if (now !== record) return;
    skipped.delete(key(record));
    skipped.add(key(record)); // the last to be skipped is the last to come again
    const before = key(record);
    await refill();
    if (queue[0] && key(queue[0]) !== before) await open(queue[0]);
    else banner("No other record is waiting.", false, 6);
  });
}

function undo() {
  next(async () => {
    const { undone } = await call(`${where}/undo`, { by: reviewer() });
    if (!undone) { banner("You have no judgement to undo.", false, 6); return; }
    given = Math.max(0, given - 1);
    byId("last").textContent = "";
    await advance(undone.record);
    banner("Undone: judge the claim again. Your estimate of how old the face looks stays.", false, 8);
  });
}

function forget() {
  digits = "";
  byId("typed").hidden = true;
}

function age(value) { if (now?.looks === null) looks(value); else judge("age", value); }

function digit(typed) {
  if (!seen()) return;
  digits += typed;
  byId("typed").textContent = digits.padEnd(2, "_");
  byId("typed").hidden = false;
  if (digits.length === 2) {
    const value = Number(digits);
    forget();
    age(value);
  }
}

document.addEventListener("keydown", (event) => {
  if (typing(event) || (event.key.startsWith("Arrow") && event.target.closest(".strip"))) return;
  const pressed = event.key.toLowerCase();
  const once = (work) => { if (!event.repeat) work(); };
  if (/^\d$/.test(pressed)) once(() => digit(pressed));
  else if (pressed === "escape") forget();
  else if (pressed === "t") once(() => looks("cannot tell"));
  else if (pressed === "k") once(() => judge("keep"));
  else if (pressed === "w") once(() => judge("wrong"));
  else if (pressed === "s" || pressed === "arrowright") once(skip);
  else if (pressed === "u" || pressed === "backspace") once(undo);
  else if (pressed === "n") byId("note").focus();
  else if (pressed === "?") byId("help").showModal();
  else return;
  event.preventDefault();
});

function clicked(id, work) {
  byId(id).addEventListener("click", (event) => { if (event.detail < 2) work(); }); // a double click is one answer
}
clicked("cannot-tell", () => looks("cannot tell"));
clicked("keep", () => judge("keep"));
clicked("wrong", () => judge("wrong"));
clicked("skip", skip);
clicked("undo", undo);
clicked("help-button", () => byId("help").showModal());
for (const [form, field] of [["looks-form", "looks"], ["age-form", "age"]]) {
  byId(form).addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = byId(field).value;
    if (/^\d{1,2}$/.test(typed)) { byId(field).blur(); age(Number(typed)); }
  });
}
byId("note").addEventListener("keydown", (event) => {
  if ((event.key === "Enter" || event.key === "Escape") && !event.isComposing) { event.preventDefault(); event.target.blur(); }
});
document.addEventListener("again", () => next(async () => { skipped.clear(); await advance(); }));

next(() => advance(Number(new URLSearchParams(location.hash.slice(1)).get("record") ?? NaN)));
