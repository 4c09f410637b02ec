"use strict";
// Thirty records at a time, each to be rejected, kept or left; one click or key sends the answers.

const STATES = ["", "reject", "keep"];
const WORDS = { "": "leave", reject: "reject", keep: "keep" };
const grid = byId("grid");
const most = Number(grid.dataset.most);
let last;
let busy = Promise.resolve();

function next(work) {
  busy = busy.then(work).catch(tell);
  return busy;
}

function tiles() { return [...grid.children]; }

function set(tile, state) {
  tile.dataset.state = state;
  tile.querySelector(".state").textContent = WORDS[state];
  tile.setAttribute("aria-label", `${tile.dataset.text}: ${WORDS[state]}`);
  byId("count").textContent = tiles().filter((one) => one.dataset.state).length;
}

async function load(after) {
  const asked = filters();
  asked.set("by", nameField.value.trim());
  asked.set("limit", most);
  if (after !== undefined) asked.set("after", after);
  const state = await call(`/api/queue?${asked}`);
  progress(state);
  const found = await Promise.all(state.records.map((id) => call(`/api/record/${id}`)));
  grid.replaceChildren(...found.map((record) => {
    const text = `claims ${record.claimed ?? "no age"}${record.suggested_age === null ? "" : `, looks ${record.suggested_age.toFixed(0)}`}`;
    const tile = element("button", { class: "tile", type: "button", "data-id": record.id, "data-text": `${record.path}, ${text}` },
      element("img", { src: record.readable ? `/picture/${record.id}?side=320` : "/static/none.svg", alt: "" }),
      element("span", { class: "state" }), element("span", {}, text),
      element("span", { title: record.reasons.map((r) => r.reason).join("; ") }, record.reasons.map((r) => r.check.replaceAll("_", " ")).join(", ")));
    tile.addEventListener("click", () => set(tile, STATES[(STATES.indexOf(tile.dataset.state) + 1) % STATES.length]));
    return tile;
  }));
  for (const tile of tiles()) set(tile, "");
  last = state.records.at(-1);
  byId("empty").hidden = found.length > 0;
  byId("empty-text").textContent = [...filters()].length ? "Nothing that the filters let through." : "Run `agebench curate` to fold the answers in.";
  say(`${found.length} records.`);
  if (found.length && document.activeElement === document.body) tiles()[0].focus();
}

function mark(state) { for (const tile of tiles()) set(tile, state); }

function send() {
  return next(async () => {
    const by = reviewer();
    let sent = 0;
    for (const answer of ["reject", "keep"]) {
      const chosen = tiles().filter((one) => one.dataset.state === answer);
      if (!chosen.length) continue;
      await call("/api/answer", { records: chosen.map((one) => Number(one.dataset.id)), by, answer });
      sent += chosen.length;
      for (const tile of chosen) tile.remove();
    }
    if (!sent) { banner("Mark what is to be rejected or kept first.", false, 6); return; }
    given += sent;
    await load();
    banner(`${sent} answered.`, false, 4);
  });
}

function undo() {
  return next(async () => {
    const { undone } = await call("/api/undo", { by: reviewer() });
    banner(undone ? `Taken back: ${undone.answer} for ${undone.path}.` : "There is no answer of yours to take back.", false, 8);
    await load();
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
  else if (key === "enter" && event.target.tagName !== "A" && event.target.tagName !== "SUMMARY" && !event.target.closest(".actions")) send();
  else if (key === "s") next(() => load(last));
  else if (key === "u") undo();
  else return;
  event.preventDefault();
});

byId("mark-reject").addEventListener("click", () => mark("reject"));
byId("mark-keep").addEventListener("click", () => mark("keep"));
byId("mark-none").addEventListener("click", () => mark(""));
byId("send").addEventListener("click", send);
byId("skip").addEventListener("click", () => next(() => load(last)));
byId("undo").addEventListener("click", undo);
document.addEventListener("again", () => next(() => load()));
next(() => load());
