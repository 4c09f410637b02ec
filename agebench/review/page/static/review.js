"use strict";
// One record at a time. An answer is acknowledged by the server, which has it on disk then, before the next one shows;
// the next records and their pictures are already here.

const AHEAD = 6;
const auditMark = byId("audit");
const audit = auditMark ? [Number(auditMark.dataset.n), Number(auditMark.dataset.seed)] : null;
const records = new Map();
const pictures = new Map();
let queue = [];
let now = null;
let face = -1;
let busy = Promise.resolve();
let digits = "";

function ask(after) {
  const asked = filters();
  asked.set("by", nameField.value.trim());
  if (audit) return call(`/api/audit/${audit[0]}-${audit[1]}?${asked}`);
  asked.set("limit", AHEAD + 1);
  if (after !== undefined) asked.set("after", after);
  return call(`/api/queue?${asked}`);
}

function load(id) {
  if (!records.has(id)) {
    const wanted = call(`/api/record/${id}${audit ? "?blind=true" : ""}`);
    wanted.catch(() => records.delete(id));
    records.set(id, wanted);
    const picture = new Image();
    picture.src = `/picture/${id}?side=1280`;
    pictures.set(id, picture);
    if (picture.decode) picture.decode().catch(() => {});
  }
  return records.get(id);
}

function prefetch() {
  for (const id of queue.slice(0, AHEAD)) load(id).catch(() => {});
  if (records.size > 60) {
    for (const id of [...records.keys()].slice(0, 30)) {
      if (id !== now?.id && !queue.includes(id)) { records.delete(id); pictures.delete(id); }
    }
  }
}

async function refill(after) {
  const state = await ask(after);
  queue = state.records.filter((id) => id !== after);
  progress(state);
  return state;
}

async function start() {
  try {
    const wanted = Number(new URLSearchParams(location.hash.slice(1)).get("record"));
    await refill();
    if (wanted && queue.includes(wanted)) queue = [wanted, ...queue.filter((id) => id !== wanted)];
    await advance();
  } catch (error) { tell(error); }
}

async function advance() {
  const id = queue.shift();
  if (id === undefined) return finished();
  await show(id);
  prefetch();
}

function finished() {
  now = null;
  for (const part of ["desk", "duplicates-block", "relatives-block"]) byId(part).hidden = true;
  byId("empty").hidden = false;
  byId("empty-text").textContent = audit
    ? "Every reading of this audit is there. The overview says what it found."
    : [...filters()].length ? "Nothing that the filters let through." : "Run `agebench curate` to fold the answers in.";
  say("Nothing waits.");
}

async function show(id) {
  const record = await load(id);
  now = record;
  history.replaceState(null, "", `${location.pathname}${location.search}#record=${id}`);
  byId("empty").hidden = true;
  byId("desk").hidden = false;
  const picture = byId("picture");
  const ready = pictures.get(id);
  byId("no-picture").hidden = record.readable;
  picture.src = ready && record.readable ? ready.src : "/static/none.svg";
  const [wide, high] = record.readable && record.width ? [record.width, record.height] : [320, 240];
  byId("frame").style.width = `min(100%, calc(var(--tall) * ${wide / high}), ${wide * 5}px)`;
  picture.width = wide;
  picture.height = high;
  const claimed = record.claimed === null ? "none" : String(record.claimed);
  picture.alt = `${record.name || "Somebody"}, claimed age ${claimed}; ${record.faces.length} faces`;
  byId("claimed").textContent = claimed;
  byId("who").textContent = [record.name, record.gender, record.photo_year && `photo of ${record.photo_year}`].filter(Boolean).join(", ");
  byId("path").textContent = `${record.part} / ${record.path}`;
  face = record.faces.findIndex((one) => one.meant);
  drawFaces();
  if (!audit) {
    reasons(record);
    estimates(record);
  }
  answersOf(record);
  strip("duplicates", record.duplicates, record);
  strip("relatives", record.relatives, record);
  timeline(record);
  byId("age").value = "";
  forget();
  say(`Claimed age ${claimed}. ${record.reasons.map((r) => r.reason).join(". ")}`);
}

// --- faces --------------------------------------------------------------------------------------------------------

function drawFaces() {
  const place = byId("boxes");
  place.replaceChildren();
  if (!now || !now.readable || !now.width) return;
  now.faces.forEach((one, number) => {
    const box = element("button", {
      class: "face", type: "button", "aria-pressed": String(number === face),
      "aria-label": `Face ${number + 1} of ${now.faces.length}${number === face ? ", the one that is meant" : ""}`,
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
  drawFaces();
  say(`Face ${face + 1} of ${now.faces.length} is meant.`);
}

// --- what is known ------------------------------------------------------------------------------------------------

function reasons(record) {
  byId("reasons").replaceChildren(...record.reasons.map((one) =>
    element("li", { class: one.verdict }, element("b", {}, one.check.replaceAll("_", " ")), one.reason)));
}

function estimates(record) {
  const place = byId("estimates");
  place.replaceChildren();
  if (!record.estimates.length) {
    place.append(element("p", { class: "muted" }, "Nothing has estimated it."));
    return;
  }
  for (const one of record.estimates) {
    const values = one.probabilities && one.probabilities.length ? one.probabilities : normal(one.age, one.spread || 6);
    const most = Math.max(...values, 1e-9);
    const points = values.map((value, age) => `${(age * 3).toFixed(1)},${(34 - 32 * value / most).toFixed(1)}`).join(" ");
    const chart = drawn("svg", { viewBox: "0 0 300 46", preserveAspectRatio: "none", role: "img",
      "aria-label": `${one.estimator}: ${one.age.toFixed(0)} years` },
      drawn("polygon", { class: "area", points: `0,34 ${points} 297,34` }),
      drawn("line", { class: "axis", x1: 0, x2: 300, y1: 34, y2: 34 }),
      drawn("line", { class: "mean-line", x1: one.age * 3, x2: one.age * 3, y1: 2, y2: 34 }));
    if (record.claimed !== null && record.claimed >= 0 && record.claimed < 100) {
      chart.append(drawn("line", { class: "claim-line", x1: record.claimed * 3, x2: record.claimed * 3, y1: 0, y2: 40 }));
    }
    const spread = one.spread ? ` ± ${one.spread.toFixed(0)}` : "";
    place.append(element("div", { class: "estimate" },
      element("p", {}, element("span", {}, one.estimator.replace(/-[0-9a-f]{8}.*$/, "")),
        element("strong", {}, `${one.age.toFixed(0)}${spread}`)), chart,
      element("div", { class: "ticks", "aria-hidden": "true" }, ...["0", "25", "50", "75", "99"].map((age) => element("span", {}, age)))));
  }
  const together = record.suggested_age === null ? "" : `Together ${record.suggested_age.toFixed(0)}; `
    + (record.label_suspicion === null ? "" : `the claim is wrong with a probability of ${(100 * record.label_suspicion).toFixed(0)} %. `);
  place.append(element("p", { class: "estimate-key" }, `${together}Red: the claimed age.`));
}

function normal(mean, spread) {
  return Array.from({ length: 100 }, (_, age) => Math.exp(-0.5 * ((age - mean) / spread) ** 2));
}

function answersOf(record) {
  byId("answers-block").hidden = !record.answers.length;
  byId("answers").replaceChildren(...record.answers.map((one) => element("li", {},
    `${one.by}: ${one.answer}${one.age === null ? "" : ` ${one.age}`}${one.note ? ` (${one.note})` : ""}`)));
}

function strip(name, rows, record) {
  byId(`${name}-block`).hidden = !rows.length;
  const all = rows.length ? [{ record_id: record.id, photo_year: record.photo_year, age: record.claimed, suggested_age: record.suggested_age, this: true }, ...rows] : [];
  if (name === "relatives") all.sort((a, b) => (a.photo_year ?? 9999) - (b.photo_year ?? 9999));
  byId(name).replaceChildren(...all.map((one) => {
    const estimated = one.suggested_age === null || one.suggested_age === undefined ? "" : `, looks ${one.suggested_age.toFixed(0)}`;
    const text = `${one.photo_year ?? "no year"}: ${one.age ?? "no age"}${estimated}`;
    const picture = element("img", { loading: "lazy", alt: `${one.this ? "This photograph" : "Photograph"}, ${text}`,
      src: `/picture/${one.record_id}?side=160${name === "relatives" ? "&face=true" : ""}` });
    return element("figure", { class: one.this ? "this" : "" }, picture,
      element("figcaption", {}, one.this ? `this, ${text}` : text + (one.verdict && one.verdict !== "keep" ? ` (${one.verdict})` : "")));
  }));
}

function timeline(record) {
  const place = byId("timeline");
  place.replaceChildren();
  const points = [...record.relatives, { photo_year: record.photo_year, age: record.claimed, suggested_age: record.suggested_age, this: true }]
    .filter((one) => one.photo_year && one.age !== null && one.age >= 0 && one.age < 120);
  if (points.length < 3) return;
  const years = points.map((one) => one.photo_year);
  const ages = points.flatMap((one) => [one.age, one.suggested_age]).filter((age) => age !== null && age !== undefined);
  const [first, last] = [Math.min(...years), Math.max(...years)];
  const [low, high] = [Math.max(0, Math.min(...ages) - 5), Math.max(...ages) + 5];
  const x = (year) => 40 + 840 * (last === first ? 0.5 : (year - first) / (last - first));
  const y = (age) => 165 - 150 * (age - low) / (high - low);
  const chart = drawn("svg", { viewBox: "0 0 900 190", role: "img",
    "aria-label": `Ages over the years ${first} to ${last}: claimed and estimated` });
  for (let age = Math.ceil(low / 10) * 10; age <= high; age += 10) {
    chart.append(drawn("line", { class: "axis", x1: 34, x2: 890, y1: y(age), y2: y(age) }));
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
  place.append(chart, element("p", { class: "estimate-key" }, audit ? "Blue: claimed ages; the large one is this photograph." : "Blue: claimed ages; the large one is this photograph. Red rings: estimated."));
}

// --- answers ------------------------------------------------------------------------------------------------------

// One after the other, in the order of the keys: an answer is never about another record than the one that was shown.
function next(work) {
  busy = busy.then(work).catch(tell);
  return busy;
}

function answer(kind, age) {
  return next(async () => {
    if (!now) return;
    const meant = now.faces.findIndex((one) => one.meant);
    const moved = face >= 0 && face !== meant && kind !== "reject";
    const body = { records: [now.id], by: reviewer(), answer: kind === "keep" && moved ? "face" : kind };
    if (age !== undefined) body.age = age;
    if (moved) { const one = now.faces[face]; body.box = [one.x, one.y, one.w, one.h]; }
    if (audit) body.audit = audit;
    const id = now.id;
    await call("/api/answer", body);
    given += 1;
    records.delete(id);
    banner("");
    if (queue.length > 1) {
      await advance();
      refill(now?.id).then(prefetch).catch(tell);
    } else {
      await refill(id);
      await advance();
    }
  });
}

function skip() {
  return next(async () => {
    if (!now) return;
    const id = now.id;
    if (audit) {
      if (!queue.length) { await refill(); queue = queue.filter((one) => one !== id); }
      if (queue.length) await advance();
      return;
    }
    await refill(id);
    if (queue.length) await advance();
    else banner("No other record waits.", false, 6);
  });
}

function undo() {
  return next(async () => {
    const { undone } = await call("/api/undo", { by: reviewer() });
    if (!undone) { banner("There is no answer of yours to take back.", false, 6); return; }
    given = Math.max(0, given - 1);
    const what = undone.answer === "age" ? `age ${undone.age}` : undone.answer;
    await refill(undone.record_id ?? undefined);
    records.delete(undone.record_id);
    if (undone.record_id !== null) await show(undone.record_id);
    else await advance();
    prefetch();
    banner(`Taken back: ${what} for ${undone.path}.`, false, 8);
    say(`Taken back: ${what}.`);
  });
}

function forget() {
  digits = "";
  byId("typed").hidden = true;
}

function digit(key) {
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
  if (typing(event)) return;
  const key = event.key.toLowerCase();
  if (/^\d$/.test(key)) digit(key);
  else if (key === "escape") forget();
  else if (key === "k") answer("keep");
  else if (key === "r") answer("reject");
  else if (key === "s" || key === "arrowright") skip();
  else if (key === "u" || key === "backspace") undo();
  else if (key === "f") choose(face + (event.shiftKey ? -1 : 1));
  else if (key === "?") byId("help").showModal();
  else return;
  event.preventDefault();
});

byId("keep").addEventListener("click", () => answer("keep"));
byId("reject").addEventListener("click", () => answer("reject"));
byId("skip").addEventListener("click", skip);
byId("undo").addEventListener("click", undo);
byId("help-button").addEventListener("click", () => byId("help").showModal());
byId("age-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const typed = byId("age").value;
  if (/^\d{1,2}$/.test(typed)) { byId("age").blur(); answer("age", Number(typed)); }
});
document.addEventListener("again", () => next(async () => { records.clear(); await refill(); await advance(); }));

// Somebody else's answers and a new curation show without a reload.
setInterval(() => {
  if (document.hidden || !now) return;
  next(async () => {
    if (!now) return;
    const before = generation;
    const id = now.id;
    const state = await refill(id);
    if (before !== undefined && state.generation !== before) {
      records.clear();
      const again = await load(id).catch(() => null);
      if (again && again.verdict && again.verdict !== "review" && queue.length) await advance();
      else if (again) await show(id);
    }
    prefetch();
  });
}, 5000);

start();
