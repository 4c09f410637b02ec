"use strict";
// Thirty records at a time, each to be rejected, kept or left; one click or key sends the answers, and one takes them
// all back.

const STATES = ["", "reject", "keep"];
const WORDS = { "": "leave", reject: "reject", keep: "keep" };
const grid = byId("grid");
const most = Number(grid.dataset.most);
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
  tile.querySelector(".state").textContent = WORDS[state];
  tile.setAttribute("aria-label", `${tile.dataset.text}: ${WORDS[state]}`);
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
  grid.replaceChildren(...found.map((record) => {
    const text = `claims ${record.age ?? "no age"}${record.suggested_age === null ? "" : `, looks ${record.suggested_age.toFixed(0)}`}`;
    const checks = record.reasons.map((name) => name.replaceAll("_", " ")).join(", ");
    const tile = element("button", { class: "tile", type: "button", "data-id": record.id, "data-seal": record.seal, "data-keepable": String(record.readable && record.age !== null && record.age >= 0 && record.age <= 99), "data-text": `${record.path}, ${text}, ${checks}` },
      element("img", { src: record.readable ? pictureOf(record.id, 320) : "/static/none.svg", alt: "" }),
      element("span", { class: "state" }), element("span", {}, text.replace("claims ", "")), element("span", { title: checks }, checks));
    tile.addEventListener("click", () => {
      const states = STATES.filter((state) => fits(tile, state));
      set(tile, states[(states.indexOf(tile.dataset.state) + 1) % states.length]);
    });
    return tile;
  }));
  for (const tile of tiles()) set(tile, "");
  window.scrollTo(0, 0); // the first of them, and the banner, are above what was looked at last
  first = state.records[0];
  last = state.records.at(-1);
  byId("empty").hidden = found.length > 0;
  byId("empty-text").textContent = [...filters()].length ? "Nothing that the filters let through." : `Run "${curate}" to fold the answers in.`;
  say(`${found.length} records.`);
  if (found.length && document.activeElement === document.body) tiles()[0].focus();
}

// A record whose claim is no age, or whose picture cannot be read, cannot be kept as it is.
function fits(tile, state) { return state !== "keep" || tile.dataset.keepable === "true"; }

// Only what can be seen: a picture that has not come yet is left.
function mark(state) {
  for (const tile of tiles()) if (!state || (fits(tile, state) && tile.querySelector("img").complete)) set(tile, state);
}

function send() {
  if (working) return; // the ones that are shown are on their way already, or going
  next(async () => {
    const answers = tiles().filter((one) => one.dataset.state)
      .map((one) => ({ record: Number(one.dataset.id), seal: one.dataset.seal, answer: one.dataset.state }));
    if (!answers.length) { banner("Mark what is to be rejected or kept first.", false, 6); return; }
    const place = first;
    await call("/api/answer", { by: reviewer(), answers });
    given += answers.length;
    await load(undefined, place);
    banner(`${answers.length} answered; Undo takes them back together.`, false, 6);
  });
}

function undo() {
  next(async () => {
    const { undone } = await call("/api/undo", { by: reviewer() });
    if (undone) given = Math.max(0, given - undone.records);
    await load(undefined, undone?.record_id ?? undefined);
    banner(!undone ? "There is no answer of yours to take back."
      : undone.records > 1 ? `Taken back: ${undone.records} answers.` : `Taken back: ${undone.answer} for ${undone.path}.`, false, 8);
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
  else return;
  event.preventDefault();
});

byId("mark-reject").addEventListener("click", () => mark("reject"));
byId("mark-keep").addEventListener("click", () => mark("keep"));
byId("mark-none").addEventListener("click", () => mark(""));
byId("send").addEventListener("click", (event) => { if (event.detail < 2) send(); });
byId("skip").addEventListener("click", () => next(() => load(last)));
byId("undo").addEventListener("click", undo);
document.addEventListener("again", () => next(() => load()));
next(() => load());
