/** The page: choice of graph, input, user actions. `conversation.js` shows what a run writes. */

import { answered, readAnswers, showQuestions } from "./answers.js";
import { Conversation } from "./conversation.js";
import { readFields, said, showFields } from "./form.js";
import { ofBrowser, ofWindow } from "./kept.js";
import { Lanes } from "./lanes.js";
import { duration, speed } from "./meter.js";
import { Picture } from "./picture.js";
import { ask, hasKey, useKey } from "./server.js";

const $ = (id) => document.getElementById(id);
const SAID = {
  ready: "Ready.",
  starting: "Starting …",
  running: "Running …",
  broken: "The connection broke; trying again …",
  stopping: "Stopping …",
  done: "Done.",
  stopped: "Stopped.",
  waiting: "Waiting for an answer.",
  failed: "Failed.",
};

const stage = { lanes: new Lanes($("lanes")), picture: new Picture($("picture")), tell };
let graphs = [];
let talk = null;
/** Whether Enter was pressed during a run: the typed input is for the next run. */
let queued = false;
/** Whether any output of the run is on the page yet. */
let seen = true;

// Choosing a graph

async function start() {
  ({ graphs } = await (await ask("/graphs")).json());
  $("key").hidden = true;
  $("graph").replaceChildren(...graphs.map(({ name }) => new Option(name)));
  const kept = ofWindow.get("talk");
  const address = new URLSearchParams(location.hash.slice(1));
  const name = address.get("graph") ?? kept?.graph;
  const graph = graphs.find((each) => each.name === name) ?? graphs[0];
  if (!graph) return say("This server has no graphs.");
  const id = address.get("run");
  const isKept = kept?.turns.some((each) => each.run === id);
  choose(graph, isKept ? kept : { turns: id ? [{ run: id }] : [] });
  await talk.goOn();
}

/** Nothing here waits, so that input typed at once is not lost. */
function choose(graph, kept) {
  $("graph").value = graph.name;
  showFields($("fields"), graph.input);
  fresh(graph, kept);
  stage.picture.clear();
  void draw(graph);
}

async function draw(graph) {
  const drawn = await ask(graph.picture).catch(() => null);
  const svg = await drawn?.text();
  if (svg && talk.graph === graph) stage.picture.show(svg);
}

/** Start an empty conversation, or restore a saved one. */
function fresh(graph, kept) {
  talk = new Conversation(graph, stage, kept);
  stage.lanes.clear();
  stage.picture.begin(false);
  $("asked").hidden = true;
  talk.tell("ready");
}

// Progress

function tell(phase, { problem, interrupts } = {}) {
  const busy = talk.busy;
  const over = !busy && phase !== "ready";
  say(SAID[phase], phase === "failed" || phase === "broken");
  enable($("stop"), busy && phase !== "stopping");
  $("graph").disabled = busy;
  $("fresh").hidden = busy || !talk.isTalk || !talk.turns.length;
  document.body.classList.toggle("busy", busy);
  document.title = `${busy ? "● " : ""}${talk.graph.name} · Tokenweir`;
  complain(problem);
  if (problem?.status === 401) wantKey();
  if (problem?.kind === "refused") giveBack();
  if (phase === "starting") begun();
  if (over) redraw();
  $("empty").hidden = phase !== "ready";
  $("answer").hidden = phase !== "waiting";
  if (interrupts) {
    showQuestions($("questions"), interrupts);
    $("questions").querySelector("textarea").focus();
  }
  if (!over) figures();
  remember();
  if (over) next(phase === "done");
}

function begun() {
  seen = false;
  const shown = talk.isTalk && !stage.lanes.spoken ? talk.turn.said : "";
  $("asked").textContent = shown ?? "";
  $("asked").hidden = !shown;
}

/** After a successful run, start the queued one. */
function next(well) {
  const waits = queued;
  queue(false);
  if (waits && well) submit();
}

function queue(is) {
  queued = is;
  $("queued").hidden = !is;
}

/** Put a message that the server did not accept back into its field. */
function giveBack() {
  const message = $("fields").querySelector("[data-type=messages]");
  if (!message || message.value || talk.turn.command) return;
  message.value = talk.turn.said ?? "";
  $("asked").hidden = true;
  stage.lanes.unsay();
}

/** On a phone, output is below the input: scroll to it when it begins. */
function look() {
  seen = true;
  $("asked").hidden = true;
  if (matchMedia("(max-width: 48rem)").matches) $("picture").scrollIntoView({ block: "start" });
}

function complain(problem) {
  $("problem").hidden = !problem;
  if (!problem) return;
  $("problem-text").textContent = problem.message;
  const { kind, status } = problem;
  // Do not offer a retry if it cannot help.
  const hopeless = kind === "refused" && status !== 429 && status !== 503;
  $("again").hidden = talk.phase !== "failed" || hopeless;
  $("again").dataset.kind = kind;
}

function say(text, bad = false) {
  if ($("status").textContent !== text) $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

function figures() {
  const { total } = talk;
  show("first", duration(total.first));
  show("rate", speed(total.rate));
  show("tokens", String(total.tokens));
  show("time", duration(talk.elapsed(Date.now())));
}

function show(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

function eachFrame() {
  if (talk && (talk.busy || stage.lanes.moved.size)) {
    redraw();
  }
  requestAnimationFrame(eachFrame);
}

function redraw() {
  talk.draw(Date.now());
  figures();
  if (!seen && stage.lanes.wrote) look();
}

/** A disabled button keeps the focus, so that users of the keyboard do not lose their place. */
function enable(button, is) {
  button.setAttribute("aria-disabled", String(!is));
}

// What survives a reload

function save() {
  if (talk) ofWindow.set("talk", talk.saved());
}

function remember() {
  save();
  const address = new URLSearchParams({ graph: talk.graph.name });
  if (talk.turn?.run) address.set("run", talk.turn.run);
  if (`#${address}` !== location.hash) history.replaceState(null, "", `#${address}`);
}

// User actions

function submit() {
  if (!talk || !$("input").reportValidity()) return;
  if (talk.busy) return queue(true);
  let input;
  try {
    input = readFields($("fields"));
  } catch (error) {
    return complain(error);
  }
  void talk.begin({ input, said: said(input), only: $("only").value.trim() });
  const message = $("fields").querySelector("[data-type=messages]");
  if (message) message.value = "";
}

function answer() {
  if (talk.busy) return;
  const resume = readAnswers($("questions"));
  void talk.begin({ command: { resume }, said: answered(resume), only: $("only").value.trim() });
}

/** Resume a failed run from its last checkpoint, read a lost one again, or start one anew. */
function again() {
  const { input, command, said: before, run } = talk.turn;
  const only = $("only").value.trim();
  if ($("again").dataset.kind === "run") void talk.begin({ only });
  else if (run) location.reload();
  else void talk.begin({ input, command, said: before, only });
}

function onForm(id, act) {
  $(id).addEventListener("submit", (event) => {
    event.preventDefault();
    act();
  });
  $(id).addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing || !event.target.matches("textarea")) return;
    // As in chats, Enter sends a message, and Shift+Enter is a new line; JSON may have many lines.
    const sends = event.target.dataset.type === "messages" || id === "answer";
    if ((sends && !event.shiftKey) || event.ctrlKey || event.metaKey) {
      event.preventDefault();
      act();
    }
  });
}

function wantKey() {
  $("key").hidden = false;
  $("key-text").focus();
}

function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
}

onForm("input", submit);
onForm("answer", answer);
onForm("key", () => {
  useKey($("key-text").value);
  void boot();
});
$("stop").addEventListener("click", () => {
  queue(false);
  void talk?.stop();
});
$("unqueue").addEventListener("click", () => {
  queue(false);
  $("run").focus();
});
$("again").addEventListener("click", again);
$("fresh").addEventListener("click", () => {
  fresh(talk.graph);
  $("fields").querySelector("[data-type]")?.focus();
});
$("graph").addEventListener("change", () => {
  choose(graphs.find(({ name }) => name === $("graph").value));
});
$("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  theme(now === "dark" ? "light" : "dark");
  ofBrowser.set("theme", document.documentElement.dataset.theme);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing) $("stop").click();
});
addEventListener("pagehide", save);
document.addEventListener("visibilitychange", save); // phones may close a hidden page silently
// The address of another run was typed or followed.
addEventListener("hashchange", () => location.reload());

async function boot() {
  try {
    await start();
  } catch (error) {
    say("Not connected.", true);
    $("problem").hidden = false;
    $("problem-text").textContent = error.message;
    $("again").hidden = true;
    if (error.status === 401) {
      if (!hasKey()) $("problem").hidden = true;
      wantKey();
    }
  }
}

theme(ofBrowser.get("theme"));
eachFrame();
void boot();
