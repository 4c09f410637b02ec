"use strict";
// Shared by the review page, the grid and the audit: requests, the reviewer's name, filters, messages.

const csrf = document.querySelector('meta[name="csrf"]').content;
const curate = document.querySelector('meta[name="curate"]').content;
const byId = (id) => document.getElementById(id);

class Refusal extends Error {
  constructor(kind, message, next) { super(message); this.kind = kind; this.next = next; }
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// While another process writes the manifest, the request is repeated every second: nothing was recorded yet.
async function call(path, body) {
  for (let waited = false; ; waited = true) {
    try {
      const found = await callOnce(path, body);
      if (waited || troubled) banner("");
      troubled = false;
      return found;
    } catch (error) {
      troubled = error.kind === "Unreachable";
      if (error.kind !== "ManifestBusy") throw error;
      banner(`${error.message} This page tries again by itself.`, true);
      await pause(1000);
    }
  }
}
let troubled = false; // whether the message is that the server does not answer

async function callOnce(path, body) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "content-type": "application/json", "x-agebench-csrf": csrf },
    body: JSON.stringify(body),
  };
  let response;
  let text;
  try {
    response = await fetch(path, options);
    text = await response.text();
  } catch {
    throw new Refusal("Unreachable", "The server does not answer.", "Start `agebench review serve` again; no saved answer is lost.");
  }
  if (response.ok) return JSON.parse(text);
  let error = { kind: "Refused", message: text.trim() || `The server answered ${response.status}.`, next: null };
  try { error = JSON.parse(text).error; } catch { /* a plain sentence */ }
  throw new Refusal(error.kind, error.message, error.next);
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function say(text) { byId("live").textContent = text; }

let bannerTimer;
function banner(text, bad = false, seconds = 0) {
  const place = byId("banner");
  clearTimeout(bannerTimer);
  place.hidden = !text;
  place.classList.toggle("bad", bad);
  place.textContent = text || "";
  if (text && seconds) bannerTimer = setTimeout(() => { place.hidden = true; }, seconds * 1000);
}

function tell(error) {
  if (!(error instanceof Refusal)) console.error(error);
  banner([error.message, error.next].filter(Boolean).join(" "), true);
  if (error.kind === "DecisionError") reported = true; // about the decisions file: the next good state clears the message
}

// --- who reviews --------------------------------------------------------------------------------------------------

const nameField = byId("name");
const proposed = document.querySelector('meta[name="reviewer"]').content;
nameField.value = localStorage.getItem("agebench-reviewer") || proposed;
if (!nameField.value) nameField.value = proposed; // the remembered name is not among the reviewers
nameField.addEventListener("change", () => {
  nameField.value = nameField.value.trim();
  localStorage.setItem("agebench-reviewer", nameField.value);
  banner(""); // the message was for another reviewer
  document.dispatchEvent(new Event("again"));
});
nameField.addEventListener("keydown", (event) => { if (event.key === "Enter") nameField.blur(); });
function reviewer() {
  if (nameField.value.trim()) return nameField.value.trim();
  nameField.focus();
  throw new Refusal("Refused", "Enter your name above.", "It is stored with every answer.");
}

// --- filters ------------------------------------------------------------------------------------------------------

const form = byId("filter-form");
function filters() {
  const asked = new URLSearchParams();
  if (!form) return asked;
  for (const [name, value] of new FormData(form)) if (value) asked.set(name, value);
  return asked;
}
if (form) {
  const kept = location.search || sessionStorage.getItem("agebench-filters") || ""; // filters survive a change of page
  for (const [name, value] of new URLSearchParams(kept)) if (form.elements[name]) form.elements[name].value = value;
  const show = () => {
    const text = [...filters()].map(([name, value]) => `${name} ${value}`).join(", ");
    byId("filter-text").textContent = text ? `(${text})` : "";
    const asked = filters().toString();
    sessionStorage.setItem("agebench-filters", asked);
    history.replaceState(null, "", `${asked ? `?${asked}` : location.pathname}${location.hash}`);
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    show();
    byId("filters").open = false;
    document.dispatchEvent(new Event("again"));
  });
  byId("filter-clear").addEventListener("click", () => {
    for (const field of form.elements) if (field.name) field.value = "";
    form.requestSubmit();
  });
  show();
}

// --- progress -----------------------------------------------------------------------------------------------------

const began = Date.now();
let given = 0;
let generation = document.querySelector('meta[name="generation"]').content;
const pictureOf = (id, side, more = "") => `/picture/${id}?side=${side}${more}&v=${encodeURIComponent(generation)}`;
let reported = false; // whether the message is that the server cannot read its files
const told = new Set();
function progress(state) {
  const done = state.total - state.left;
  byId("progress").max = Math.max(1, state.total);
  byId("progress").value = done;
  byId("left").textContent = `${state.left.toLocaleString("en")} left of ${state.total.toLocaleString("en")}${pace(state.left)}`;
  if (state.generation !== generation) {
    banner("The records were judged again, so the queue was reloaded.", false, 12);
    generation = state.generation;
    document.dispatchEvent(new Event("renewed"));
  }
  for (const note of state.notes || []) if (!told.has(note)) { told.add(note); banner(note); }
  if (state.trouble) banner(state.trouble, true);
  else if (reported) banner("");
  reported = Boolean(state.trouble);
}

// Answers per minute since the page was opened, and how long the rest takes at that pace.
function pace(left) {
  const minutes = (Date.now() - began) / 60000;
  if (given < 3 || minutes < 0.05) return "";
  const rest = left * minutes / given;
  const time = rest < 1 ? "under a minute" : rest < 90 ? `about ${Math.round(rest)} min` : `about ${Math.round(rest / 60)} h`;
  return ` · ${Math.max(1, Math.round(given / minutes))} a minute · ${time} to go`;
}

function typing(event) {
  return event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)
    || document.querySelector("dialog[open]");
}
