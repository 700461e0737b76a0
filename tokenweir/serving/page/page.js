/** The page: a graph, its input, its run. What a run writes is drawn by `lanes.js`. */

import { follow, run } from "./client.js";
import { readFields, said, showFields } from "./form.js";
import { Lanes } from "./lanes.js";
import { Meter, duration } from "./meter.js";
import { Picture } from "./picture.js";

const $ = (id) => document.getElementById(id);
// Where the server is, wherever a proxy has put it.
const ROOT = new URL("..", import.meta.url).href.replace(/\/$/, "");
const lanes = new Lanes($("lanes"));
const picture = new Picture($("picture"));

let graphs = [];
let graph = null;
/** What there is on the page: a conversation of turns, each a run. Outlives a reload. */
let talk = { thread: null, turns: [] };
let turn = null;
let reading = null;
let total = new Meter();
let key = sessionStorage.getItem("tokenweir-key") ?? "";

// The server

function headers() {
  return key ? { "x-api-key": key } : {};
}

async function ask(path) {
  const response = await fetch(ROOT + path, { headers: headers() });
  if (response.status === 401) {
    $("key").hidden = false;
    $("key-text").focus();
  }
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).detail ?? "failed");
  return response;
}

async function start() {
  ({ graphs } = await (await ask("/graphs")).json());
  $("graph").replaceChildren(...graphs.map(({ name }) => new Option(name)));
  const kept = remembered();
  const address = new URLSearchParams(location.hash.slice(1));
  const name = address.get("graph") ?? kept?.graph;
  await choose(graphs.some((each) => each.name === name) ? name : graphs[0]?.name);
  const id = address.get("run");
  if (kept?.turns.some((each) => each.run === id)) talk = kept;
  else if (id) talk = { thread: null, turns: [{ run: id, input: null }] };
  await goOn();
}

async function choose(name) {
  graph = graphs.find((each) => each.name === name) ?? null;
  if (!graph) return say("This server has no graphs.", true);
  $("graph").value = name;
  showFields($("fields"), graph.input);
  talk = { thread: null, turns: [] };
  clear();
  picture.show(await (await ask(graph.picture)).text());
}

// Runs

function callbacks() {
  let known = turn.last ?? 0;
  return {
    headers: headers(),
    begin(begun) {
      turn.run = begun.id;
      location.replace(`#graph=${encodeURIComponent(graph.name)}&run=${begun.id}`);
      remember();
      busy(true);
    },
    delta(token) {
      const seen = place() <= known;
      const now = Date.now();
      const counts = lanes.token(token, seen ? null : now, turn.began);
      if (counts && !seen) total.feed(`${token.id} ${token.task}`, now, turn.began);
      $("empty").hidden = true;
    },
    remove: ({ id }) => lanes.remove(id),
    other(event, record) {
      if (event === "node") picture.node(record);
      // What was there before this page came is shown, and not measured.
      if (event === "run" && turn.began === undefined) known = record.last;
      if (event === "run") {
        talk.thread = record.thread ?? talk.thread;
        say("Running …");
      }
    },
    finish: ended,
    fail(error) {
      picture.end(false);
      over(error.kind === "run" ? `Failed: ${error.message}` : error.message, true);
    },
    reconnect: () => say("The connection broke; trying again …", true),
  };
}

/** The place in the run of the event that is being handed on. */
function place() {
  return Number(reading?.lastEventId.split(":").pop() ?? 0);
}

function ended(end) {
  picture.end(end.status === "success");
  const waits = end.interrupts.length > 0;
  turn.seconds = end.seconds;
  if (waits) {
    $("question").textContent = end.interrupts
      .map(({ value }) => (typeof value === "string" ? value : JSON.stringify(value, null, 2)))
      .join("\n");
    $("answer").hidden = false;
    $("answer-text").focus();
  }
  const how = waits ? "Waiting for an answer." : "Done.";
  over(end.status === "success" || waits ? how : "Stopped.");
}

async function begin(input, command) {
  const keeps = isTalk() || command;
  if (!keeps) {
    talk = { thread: null, turns: [] };
    clear();
  }
  talk.thread ??= newId();
  turn = { input, began: Date.now(), said: command ? String(command.resume) : said(input) };
  talk.turns.push(turn);
  $("answer").hidden = true;
  lanes.turn(keeps ? turn.said : "");
  total = new Meter();
  picture.begin();
  $("empty").hidden = true;
  busy(true);
  say("Starting …");
  const options = { ...callbacks(), only: $("only").value.trim(), thread: talk.thread, command };
  const place = `${ROOT}/graphs/${encodeURIComponent(graph.name)}`;
  reading = run(place, input, options);
  await reading.done;
}

/** Show again what was shown before a reload, and go on with what still runs. */
async function goOn() {
  for (const each of talk.turns.filter(({ run: id }) => id)) {
    turn = each;
    turn.over = false;
    $("answer").hidden = true;
    lanes.turn(isTalk() ? (turn.said ?? "") : "", turn.meters);
    total = new Meter(turn.total);
    picture.begin();
    busy(true);
    say("Going on …");
    reading = follow(`${ROOT}/runs/${turn.run}`, callbacks());
    await reading.done;
  }
}

function isTalk() {
  return graph.input === null || graph.input.some(({ type }) => type === "messages");
}

function over(text, bad = false) {
  turn.over = true;
  draw();
  remember();
  busy(false);
  say(text, bad);
}

function busy(is) {
  $("run").disabled = is;
  $("stop").disabled = !is || !turn?.run;
  $("graph").disabled = is;
  $("fresh").hidden = is || !isTalk() || !talk.turns.length;
  document.body.classList.toggle("busy", is);
  if (is && turn?.run) say("Running …");
}

function clear() {
  lanes.clear();
  total = new Meter();
  turn = null;
  $("answer").hidden = true;
  $("empty").hidden = false;
  $("fresh").hidden = true;
  draw();
}

// What is kept over a reload

function remember() {
  if (turn) {
    turn.meters = lanes.saved();
    turn.total = total.saved();
    turn.last = place();
  }
  sessionStorage.setItem("tokenweir", JSON.stringify({ ...talk, graph: graph?.name }));
}

function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem("tokenweir") ?? "null");
  } catch {
    return null;
  }
}

// What is shown

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

function draw() {
  const running = turn !== null && !turn.over;
  lanes.draw(Date.now(), running);
  $("first").textContent = duration(total.first);
  $("rate").textContent = total.rate === null ? "–" : total.rate.toFixed(1);
  $("tokens").textContent = String(total.tokens);
  let time = null;
  if (running && turn.began !== undefined) time = Date.now() - turn.began;
  else if (turn?.seconds !== undefined) time = turn.seconds * 1000;
  $("time").textContent = duration(time);
}

function eachFrame() {
  if (turn && !turn.over) draw();
  requestAnimationFrame(eachFrame);
}

function newId() {
  // crypto.randomUUID is for https and localhost only.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

// What a person does

function submit() {
  if ($("run").disabled || !$("input").reportValidity()) return;
  let input;
  try {
    input = readFields($("fields"));
  } catch (error) {
    return say(error.message, true);
  }
  void begin(input);
  if (isTalk()) $("fields").querySelector("textarea").value = "";
}

async function stop() {
  $("stop").disabled = true;
  try {
    await reading.cancel();
  } catch (error) {
    say(error.message, true);
    $("stop").disabled = false;
  }
}

$("input").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
$("input").addEventListener("keydown", (event) => {
  // Enter sends a message, as chats do; Shift+Enter is a new line.
  const sends = event.target.matches("textarea") && event.key === "Enter" && !event.shiftKey;
  if (sends && !event.isComposing) {
    event.preventDefault();
    submit();
  }
});
$("stop").addEventListener("click", stop);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("stop").disabled) void stop();
});
$("fresh").addEventListener("click", () => {
  talk = { thread: null, turns: [] };
  clear();
  remember();
  location.replace(`#graph=${encodeURIComponent(graph.name)}`);
  say("Ready.");
  $("fields").querySelector("[data-type]")?.focus();
});
$("answer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("answer-text").value;
  $("answer-text").value = "";
  let value = text;
  try {
    value = JSON.parse(text);
  } catch {
    // Not JSON: the answer is the text itself.
  }
  void begin(undefined, { resume: value });
});
$("graph").addEventListener("change", async () => {
  await choose($("graph").value);
  remember();
  location.replace(`#graph=${encodeURIComponent(graph.name)}`);
  say("Ready.");
});
$("key").addEventListener("submit", async (event) => {
  event.preventDefault();
  key = $("key-text").value;
  $("key").hidden = true;
  sessionStorage.setItem("tokenweir-key", key);
  await boot();
});
$("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  theme(now === "dark" ? "light" : "dark");
});
addEventListener("pagehide", remember);

function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
  try {
    if (name) localStorage.setItem("tokenweir-theme", name);
  } catch {
    // Private windows may keep nothing.
  }
}

async function boot() {
  try {
    await start();
  } catch (error) {
    say(error.message, true);
  }
}

theme(localStorage.getItem("tokenweir-theme"));
eachFrame();
void boot();
