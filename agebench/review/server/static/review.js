"use strict";
// One record at a time. The next record is shown only after the server has the answer on disk; the records and pictures
// to come are already loaded. An answer is always about what was seen: a key pressed before the next picture is there,
// or before anybody can have seen it, is ignored, and a message on the picture says so.

const AHEAD = 6;
const UNSEEN = 150; // ms after a picture appears within which nobody can have seen it
const records = new Map();
const pictures = new Map();
let queue = [];
let now = null;
let waits = true; // whether what is shown is in the queue
const trail = []; // records shown before, the latest last
let face = -1;
let zoomed = false;
let appeared = Infinity;
let working = 0;
let moves = 0; // counts answers, skips and so on: a reply to an earlier request is stale
let busy = Promise.resolve();
let digits = "";

// The record that the reviewer is looking at; null while it changes.
function seen() { return now && !working && performance.now() - appeared >= UNSEEN ? now : null; }

// The same for a key or button that answers; one that came too early is reported.
function seenFor(what) {
  const record = seen();
  if (now && !record) {
    flash(`${what} came too early and was ignored`, "early");
    say(`${what} came too early and was ignored.`);
  }
  return record;
}

function ask({ after, at } = {}) {
  const asked = filters();
  asked.set("by", nameField.value.trim());
  asked.set("limit", AHEAD + 2);
  if (after !== undefined) asked.set("after", after);
  if (at !== undefined) asked.set("at", at);
  return call(`/api/queue?${asked}`);
}

function load(id) {
  if (!records.has(id)) {
    const wanted = call(`/api/record/${id}`);
    wanted.catch(() => records.delete(id));
    records.set(id, wanted);
    const picture = new Image();
    picture.src = pictureOf(id, 1280);
    picture.decode().catch(() => {});
    pictures.set(id, picture);
  }
  return records.get(id);
}

function unload() { records.clear(); pictures.clear(); }

function prefetch() {
  for (const id of queue.slice(0, AHEAD)) load(id).catch(() => {});
  if (records.size > 60) {
    for (const id of [...records.keys()].slice(0, 30)) {
      if (id !== now?.id && !queue.includes(id)) { records.delete(id); pictures.delete(id); }
    }
  }
}

// Load what follows a record (or the start of the queue); in the background only if nobody has moved on meanwhile.
async function refill(where, background = false) {
  const before = moves;
  const state = await ask(where);
  if (background && moves !== before) return null;
  const shown = where?.after ?? where?.at;
  queue = state.records.filter((id) => id !== shown);
  progress(state);
  return state;
}

async function start() {
  const asked = new URLSearchParams(location.hash.slice(1));
  if (/^\d{1,9}$/.test(asked.get("look") ?? "")) { await lookAt(Number(asked.get("look"))); return; }
  const wanted = asked.get("record");
  const place = /^\d{1,9}$/.test(wanted ?? "") ? Number(wanted) : undefined;
  const state = await ask(place === undefined ? {} : { at: place });
  progress(state);
  queue = state.records;
  await advance();
}

// A record that the address names, whether it is waiting or not.
async function lookAt(id) {
  const state = await refill({ at: id });
  await show(id);
  waits = state.records.includes(id);
  prefetch();
}

async function advance() {
  const id = queue[0];
  if (now && now.id !== id) trail.push(now.id);
  if (trail.length > 200) trail.shift();
  if (id === undefined) { finished(); return; }
  await show(id);
  queue.shift();
  waits = true;
  prefetch();
}

function finished() {
  now = null;
  for (const part of ["desk", "duplicates-block", "relatives-block"]) byId(part).hidden = true;
  byId("empty").hidden = false;
  byId("empty-text").textContent = [...filters()].length ? "No waiting record matches the filters." : `Run "${curate}" to apply the answers.`;
  history.replaceState(null, "", location.pathname + location.search);
  say("No record is waiting.");
}

async function show(id) {
  const record = await load(id);
  let picture = pictures.get(id);
  if (!picture || !record.readable) { picture = new Image(); picture.src = "/static/none.svg"; }
  await picture.decode().catch(() => {}); // the previous picture stays until this one is ready
  appeared = Infinity;
  now = record;
  history.replaceState(null, "", `${location.pathname}${location.search}#record=${id}`);
  byId("empty").hidden = true;
  byId("desk").hidden = false;
  byId("no-picture").hidden = record.readable;
  byId("picture").replaceWith(picture);
  picture.id = "picture";
  const [wide, high] = record.readable && record.width ? [record.width, record.height] : [320, 240];
  zoom(false);
  byId("frame").style.width = `min(100%, calc(var(--tall) * ${wide / high}), ${wide * 5}px)`;
  picture.width = wide;
  picture.height = high;
  const claimed = record.claimed === null ? "none" : String(record.claimed);
  picture.alt = `${record.name || "Unnamed person"}, claimed age ${claimed}; ${record.faces.length === 1 ? "one face" : `${record.faces.length} faces`}`;
  byId("claimed").textContent = claimed;
  byId("who").textContent = [record.name, record.gender, record.photo_year && `photo of ${record.photo_year}`].filter(Boolean).join(", ");
  byId("path").textContent = `${record.part} / ${record.path}`;
  face = record.faces.findIndex((one) => one.meant);
  reasons(record);
  keeps(record);
  byId("next-face").hidden = record.faces.length < 2;
  answersOf(record);
  aboutFace(record);
  byId("age").value = "";
  byId("note").value = "";
  forget();
  say(`Claimed age ${claimed}. ${record.settles ? `${byId("answers-block").innerText}. ` : ""}${record.reasons.map((r) => r.reason).join(". ")}`);
  if (!document.hidden) await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  appeared = performance.now();
  performance.clearMarks("shown");
  performance.mark("shown", { detail: id });
  loadStrips();
}

function loadStrips() { // the large picture does not wait for the small ones
  for (const one of document.querySelectorAll("img[data-src]")) {
    one.src = one.dataset.src;
    one.removeAttribute("data-src");
  }
}

// "Keep" says what it keeps.
function keeps(record) {
  const fits = record.readable && record.claimed !== null && record.claimed >= 0 && record.claimed <= 99;
  byId("keep").disabled = !fits;
  byId("keep-text").textContent = fits ? `${record.claimed} is right` : "Cannot be kept as it is";
}

let flashTimer;
function flash(text, kind) {
  const place = byId("flash");
  if (kind !== "early" && !place.hidden && place.classList.contains("early")) return; // give the reader time to read about the ignored key
  clearTimeout(flashTimer);
  place.textContent = text;
  place.className = `flash ${kind}`;
  place.hidden = false;
  flashTimer = setTimeout(() => { place.hidden = true; }, kind === "early" ? 1500 : 600);
}

// --- zoom and boxes -----------------------------------------------------------------------------------------------

// Let the marked face (or the middle, if there is none) fill about half of the frame.
function zoom(wanted) {
  zoomed = Boolean(wanted && now?.readable && now.width);
  byId("zoom").setAttribute("aria-pressed", String(zoomed));
  const glass = byId("glass");
  glass.style.setProperty("--zoom", 1);
  if (!zoomed) { glass.style.transform = ""; return; }
  const one = now.faces[face] ?? { x: now.width / 4, y: now.height / 4, w: now.width / 2, h: now.height / 2 };
  const scale = Math.max(1.5, Math.min(8, 0.55 * Math.min(now.width / one.w, now.height / one.h)));
  const part = (middle, size) => Math.min(scale - 1, Math.max(0, scale * middle / size - 0.5));
  const [left, top] = [part(one.x + one.w / 2, now.width), part(one.y + one.h / 2, now.height)];
  glass.style.setProperty("--zoom", scale);
  glass.style.transform = `translate(${-100 * left}%, ${-100 * top}%) scale(${scale})`;
  const sharp = new Image();
  sharp.src = pictureOf(now.id, 2000);
  const record = now;
  sharp.decode().then(() => { if (now === record && zoomed) byId("picture").src = sharp.src; }).catch(() => {});
}

function hideBoxes(hidden) {
  byId("frame").classList.toggle("bare", hidden);
  byId("hide-boxes").setAttribute("aria-pressed", String(hidden));
}

// --- faces --------------------------------------------------------------------------------------------------------

function drawFaces() {
  const place = byId("boxes");
  place.replaceChildren();
  if (!now || !now.readable || !now.width) return;
  now.faces.forEach((one, number) => {
    const box = element("button", {
      class: "face", type: "button", "aria-pressed": String(number === face),
      "aria-label": `Face ${number + 1} of ${now.faces.length}${number === face ? ", the marked one" : ""}`,
      title: one.score === null || one.score === undefined ? "" : `score ${one.score.toFixed(2)}`,
    });
    box.style.left = `${100 * one.x / now.width}%`;
    box.style.top = `${100 * one.y / now.height}%`;
    box.style.width = `${100 * one.w / now.width}%`;
    box.style.height = `${100 * one.h / now.height}%`;
    box.addEventListener("click", () => choose(number));
    place.append(box);
    if (number === face) {
      for (let i = 0; one.landmarks && i + 1 < one.landmarks.length; i += 2) {
        const dot = element("span", { class: "dot" });
        dot.style.left = `${100 * one.landmarks[i] / now.width}%`;
        dot.style.top = `${100 * one.landmarks[i + 1] / now.height}%`;
        place.append(dot);
      }
    }
  });
}

function choose(number) {
  if (!now || !now.faces.length) return;
  face = (number + now.faces.length) % now.faces.length;
  aboutFace(now);
  loadStrips();
  if (zoomed) zoom(true);
  say(`Face ${face + 1} of ${now.faces.length} is marked. ${looksOf(now)}`);
}

// Everything that depends on which face is marked.
function aboutFace(record) {
  drawFaces();
  byId("face-text").textContent = `Face ${face + 1} of ${record.faces.length}`;
  byId("reasons-face").hidden = !anotherFace(record);
  estimates(record);
  strip("duplicates", record.duplicates, record);
  strip("relatives", record.relatives, record);
  timeline(record);
}

// Whether the marked face is another one than the one that the checks judged.
function anotherFace(record) { return face >= 0 && record.faces[face].face_no !== record.automatic_face; }

function suggested(record) { return record.faces[face]?.suggested_age ?? null; }

// --- what is known ------------------------------------------------------------------------------------------------

function reasons(record) {
  byId("reasons").replaceChildren(...record.reasons.map((one) =>
    element("li", { class: one.verdict }, element("b", {}, one.check.replaceAll("_", " ")), one.reason)));
}

// How old the face looks, and what that means for the claim.
function looksOf(record) {
  const [age, doubt] = [suggested(record), record.faces[face]?.label_suspicion ?? null];
  if (age === null) return record.faces.length ? "No age was estimated for this face." : "No face was found.";
  const years = record.claimed === null ? 0 : Math.round(age) - record.claimed;
  const gap = record.claimed === null ? "" : years === 0 ? ", as claimed"
    : `, ${Math.abs(years)} year${Math.abs(years) === 1 ? "" : "s"} ${years < 0 ? "younger" : "older"} than claimed`;
  const wrong = doubt !== null ? ` The claim is wrong with a probability of ${percent(doubt)}.`
    : anotherFace(record) ? " How likely the claim is wrong is only known for the face that was chosen automatically." : "";
  return `Looks ${age.toFixed(0)}${gap}.${wrong}`;
}

function percent(share) { return share > 0.99 && share < 1 ? "over 99\u00a0%" : share < 0.01 ? "under 1\u00a0%" : `${(100 * share).toFixed(0)}\u00a0%`; }

// One chart: all estimates for the face together, the age it looks, and the claimed age.
function estimates(record) {
  const place = byId("estimates");
  place.replaceChildren(element("p", { class: "looks" }, looksOf(record)));
  const age = suggested(record);
  if (age === null) return;
  const theirs = record.estimates.filter((one) => one.face_no === record.faces[face].face_no && one.age !== null);
  const all = theirs.map((one) => one.probabilities?.length ? one.probabilities : normal(one.age, one.spread || 6))
    .map((values) => { const sum = values.reduce((a, b) => a + b, 0) || 1; return values.map((value) => value / sum); });
  const values = Array.from({ length: 100 }, (_, year) => all.reduce((sum, one) => sum + one[year], 0));
  const most = Math.max(...values, 1e-9);
  const x = (year) => 10 + 2.85 * year;
  const points = values.map((value, year) => `${x(year).toFixed(1)},${(52 - 44 * value / most).toFixed(1)}`).join(" ");
  const chart = drawn("svg", { viewBox: "0 0 300 72", role: "img", "aria-label": looksOf(record) },
    drawn("polygon", { class: "area", points: `${x(0)},52 ${points} ${x(99)},52` }),
    drawn("line", { class: "axis", x1: x(0), x2: x(99), y1: 52, y2: 52 }));
  for (const year of [0, 20, 40, 60, 80]) chart.append(drawn("text", { x: x(year), y: 66, "text-anchor": "middle" }, String(year)));
  chart.append(drawn("line", { class: "mean-line", x1: x(age), x2: x(age), y1: 6, y2: 52 }));
  const claims = record.claimed !== null && record.claimed >= 0 && record.claimed < 100;
  if (claims) chart.append(drawn("line", { class: "claim-line", x1: x(record.claimed), x2: x(record.claimed), y1: 2, y2: 56 }));
  place.append(chart, element("p", { class: "estimate-key" },
    element("span", { class: "key looks-key" }), "looks", ...(claims ? [element("span", { class: "key claim-key" }), "claimed"] : []),
    element("span", { class: "key pale" }), `estimate by ${theirs.map((one) => one.estimator.replace(/-[0-9a-f]{8}.*$/, "")).join(", ")}`));
}

function normal(mean, spread) {
  return Array.from({ length: 100 }, (_, age) => Math.exp(-0.5 * ((age - mean) / spread) ** 2));
}

function answersOf(record) {
  byId("answers-block").hidden = !record.answers.length;
  byId("settles").hidden = !record.settles;
  byId("answers").replaceChildren(...record.answers.map((one) => element("li", {},
    `${one.by}: ${one.answer}${one.age === null ? "" : ` ${one.age}`}${one.note ? ` (${one.note})` : ""}`)));
}

function strip(name, rows, record) {
  byId(`${name}-block`).hidden = !rows.length;
  const all = rows.length ? [{ record_id: record.id, photo_year: record.photo_year, age: record.claimed, suggested_age: suggested(record), this: true }, ...rows] : [];
  if (name === "relatives") all.sort((a, b) => (a.photo_year ?? 9999) - (b.photo_year ?? 9999));
  byId(name).replaceChildren(...all.map((one) => {
    const estimated = one.suggested_age === null || one.suggested_age === undefined ? "" : `, looks ${one.suggested_age.toFixed(0)}`;
    const text = `${one.photo_year ?? "no year"}: ${one.age ?? "no age"}${estimated}`;
    const picture = element("img", { loading: "lazy", alt: `${one.this ? "This photograph" : "Photograph"}, ${text}`,
      "data-src": pictureOf(one.record_id, 160, name === "relatives" ? `&face=true${one.this && face >= 0 ? `&face_no=${record.faces[face].face_no}` : ""}` : "") });
    return element("figure", { class: one.this ? "this" : "" }, picture,
      element("figcaption", {}, one.this ? `this, ${text}` : text + (one.verdict && one.verdict !== "keep" ? ` (${one.verdict})` : "")));
  }));
}

function timeline(record) {
  const place = byId("timeline");
  place.replaceChildren();
  const points = [...record.relatives, { photo_year: record.photo_year, age: record.claimed, suggested_age: suggested(record), this: true }]
    .filter((one) => one.photo_year && one.age !== null && one.age >= 0 && one.age < 120);
  if (points.length < 3) return;
  const years = points.map((one) => one.photo_year);
  const ages = points.flatMap((one) => [one.age, one.suggested_age]).filter((age) => age !== null && age !== undefined);
  const [first, last] = [Math.min(...years), Math.max(...years)];
  const [low, high] = [Math.max(0, Math.min(...ages) - 5), Math.max(...ages) + 5];
  const wide = Math.max(300, Math.min(900, place.clientWidth));
  const x = (year) => 40 + (wide - 60) * (last === first ? 0.5 : (year - first) / (last - first));
  const y = (age) => 165 - 150 * (age - low) / (high - low);
  const chart = drawn("svg", { viewBox: `0 0 ${wide} 190`, role: "img",
    "aria-label": `Ages over the years ${first} to ${last}: claimed and estimated` });
  for (let age = Math.ceil(low / 10) * 10; age <= high; age += 10) {
    chart.append(drawn("line", { class: "axis", x1: 34, x2: wide - 10, y1: y(age), y2: y(age) }));
    chart.append(drawn("text", { x: 6, y: y(age) + 4 }, String(age)));
  }
  for (const year of new Set([first, last])) chart.append(drawn("text", { x: x(year) - 14, y: 185 }, String(year)));
  const line = [...points].sort((a, b) => a.photo_year - b.photo_year).map((one) => `${x(one.photo_year)},${y(one.age)}`).join(" ");
  chart.append(drawn("polyline", { class: "claimed-line", points: line }));
  for (const one of points) {
    if (one.suggested_age !== null && one.suggested_age !== undefined) {
      chart.append(drawn("circle", { class: "estimated-dot", cx: x(one.photo_year), cy: y(one.suggested_age), r: 4 }));
    }
    chart.append(drawn("circle", { class: `claimed-dot${one.this ? " this-dot" : ""}`, cx: x(one.photo_year), cy: y(one.age), r: one.this ? 7 : 4 }));
  }
  place.append(chart, element("p", { class: "estimate-key" }, "Blue dots: claimed ages; the large one is this photograph. Red rings: estimated ages."));
}

// --- answers ------------------------------------------------------------------------------------------------------

function next(work) {
  working += 1;
  moves += 1;
  busy = busy.then(work).catch(tell).finally(() => { working -= 1; });
  return busy;
}

function answer(kind, age, key = "Your answer") {
  const record = seenFor(key);
  if (!record) return;
  const meant = record.faces.findIndex((one) => one.meant);
  const moved = face >= 0 && face !== meant;
  // Of two reviewers, each one's answer names the face: otherwise taking the default face would never be a disagreement.
  const named = kind !== "reject" && (moved || (record.independent && face >= 0 && record.faces.length > 1));
  const one = { record: record.id, seal: record.seal, answer: kind === "keep" && named ? "face" : kind };
  if (age !== undefined) one.age = age;
  if (byId("note").value.trim()) one.note = byId("note").value.trim();
  if (record.settles) one.settles = record.answers.map((said) => said.id);
  if (named) { const { x, y, w, h } = record.faces[face]; one.box = [x, y, w, h]; }
  const what = age !== undefined ? `Age ${age}` : kind === "reject" ? "Rejected" : `${record.claimed} kept`;
  next(async () => {
    if (now !== record) return;
    try {
      await call("/api/answer", { by: reviewer(), answers: [one] });
    } catch (error) {
      if (error.kind === "UsageError") { records.delete(record.id); await show(record.id).catch(() => {}); }
      throw error;
    }
    given += 1;
    flash(what, kind);
    byId("last").textContent = `· last: ${age === undefined ? moved && kind === "keep" ? "keep, another face" : kind : `age ${age}`}`;
    records.delete(record.id);
    banner("");
    await moveOn(record.id);
  });
}

// The record that follows, from those already loaded if there are any.
async function moveOn(id) {
  if (!queue.length) await refill({ after: id });
  await advance();
  refill(now ? { after: now.id } : undefined, true).then(prefetch).catch(tell);
}

function skip() {
  const record = seenFor("Skip");
  if (!record) return;
  next(async () => {
    if (now !== record) return;
    if (!queue.length) await refill({ after: record.id });
    if (queue.length) await moveOn(record.id);
    else banner("No other record is waiting.", false, 6);
  });
}

// The previous record; its answer stands until another one is given.
function back() {
  next(async () => {
    const id = trail.pop();
    if (id === undefined) { banner("There is no previous record.", false, 6); return; }
    records.delete(id); // so that answers given since are shown
    if (now) queue.unshift(now.id);
    await show(id);
    waits = false;
    prefetch();
  });
}

// An undo is about the last answer, not about what is shown, so it waits for its turn.
function undo() {
  next(async () => {
    const { undone } = await call("/api/undo", { by: reviewer() });
    if (!undone) { banner("You have no answer to undo.", false, 6); return; }
    given = Math.max(0, given - undone.records);
    byId("last").textContent = "";
    const what = undone.records > 1 ? `${undone.records} answers` : `${undone.answer === "age" ? `age ${undone.age}` : undone.answer} for ${undone.path}`;
    records.delete(undone.record_id);
    const state = await refill(undone.record_id === null ? undefined : { at: undone.record_id });
    if (undone.record_id === null) await advance();
    else { await show(undone.record_id); waits = state.records.includes(undone.record_id); }
    prefetch();
    banner(`Undone: ${what}.`, false, 8);
    say(`Undone: ${what}.`);
  });
}

function forget() {
  digits = "";
  byId("typed").hidden = true;
}

function digit(key) {
  if (!seenFor(key)) return;
  digits += key;
  byId("typed").textContent = digits.padEnd(2, "_");
  byId("typed").hidden = false;
  if (digits.length === 2) {
    const age = Number(digits);
    forget();
    answer("age", age);
  }
}

document.addEventListener("keydown", (event) => {
  if (typing(event) || (event.key.startsWith("Arrow") && event.target.closest(".strip"))) return;
  const key = event.key.toLowerCase();
  if (/^\d$/.test(key)) { if (!event.repeat) digit(key); }
  else if (key === "escape") forget();
  else if (key === "k" || key === "r") { if (!event.repeat) answer(key === "k" ? "keep" : "reject", undefined, key.toUpperCase()); }
  else if (key === "arrowleft") { if (!event.repeat) back(); }
  else if (key === "z") zoom(!zoomed);
  else if (key === "b") hideBoxes(!byId("frame").classList.contains("bare"));
  else if (key === "s" || key === "arrowright") { if (!event.repeat) skip(); }
  else if (key === "u" || key === "backspace") { if (!event.repeat) undo(); }
  else if (key === "f") choose(face + (event.shiftKey ? -1 : 1));
  else if (key === "n") byId("note").focus();
  else if (key === "?") byId("help").showModal();
  else return;
  event.preventDefault();
});

function pressed(id, work) {
  byId(id).addEventListener("click", (event) => { if (event.detail < 2) work(); }); // a double click is one answer
}
pressed("keep", () => answer("keep"));
pressed("reject", () => answer("reject"));
pressed("skip", skip);
pressed("undo", undo);
pressed("back", back);
byId("zoom").addEventListener("click", () => zoom(!zoomed));
byId("hide-boxes").addEventListener("click", () => hideBoxes(!byId("frame").classList.contains("bare")));
byId("next-face").addEventListener("click", () => choose(face + 1));
pressed("help-button", () => byId("help").showModal());
byId("age-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const typed = byId("age").value;
  if (/^\d{1,2}$/.test(typed)) { byId("age").blur(); answer("age", Number(typed)); }
});
byId("note").addEventListener("keydown", (event) => {
  if ((event.key === "Enter" || event.key === "Escape") && !event.isComposing) { event.preventDefault(); event.target.blur(); }
});
document.addEventListener("again", () => next(async () => { unload(); queue = []; await refill(); await advance(); }));

// Other people's answers and a new curation appear without a reload; the place in the queue stays.
let renewed = false;
document.addEventListener("renewed", () => { unload(); renewed = true; });
async function follow() {
  if (document.hidden || working || (now && appeared === Infinity)) return;
  const record = now;
  const state = await refill(record ? { at: record.id } : undefined, true);
  if (!state) return;
  const fresh = renewed;
  renewed = false;
  const still = Boolean(record && state.records.includes(record.id));
  if (!record && queue.length) next(advance);
  else if (record && waits && !still) {
    next(async () => { await advance(); if (!fresh) banner("The previous record was answered elsewhere.", false, 8); });
  } else if (record && fresh) next(() => show(record.id));
  waits = still;
  prefetch();
}
setInterval(() => follow().catch(tell), 5000);

next(start);
