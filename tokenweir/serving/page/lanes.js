/** Lanes: one for each tag, filled token by token. What a message looks like is `message.js`. */

import { element, Message } from "./message.js";
import { Calls, duration, Meter, speed } from "./meter.js";

const SVG = "http://www.w3.org/2000/svg";

/** Milliseconds after its last token in which a lane counts as being written. */
const WRITING = 1500;

/** What to call the lane of a token: its tags, else its node. */
export function laneName(token) {
  return token.tags.length ? token.tags.join(" ") : token.node || token.model || "tokens";
}

/** What tells one model call from another. */
function callOf(token) {
  return token.id ?? `${token.task} ${token.node} ${token.tags.join(" ")}`;
}

export class Lanes {
  /** @param {HTMLElement} place */
  constructor(place) {
    this.place = place;
    this.lanes = new Map();
    this.messages = new Map();
    this.calls = new Map();
    this.times = new Calls();
    this.unwritten = new Set();
    this.moved = new Set();
    /** Whether anything was written in this turn. */
    this.wrote = false;
    /** Where it stands what the user said in this turn. */
    this.spoken = null;
    this.said = "";
    this.meters = {};
  }

  clear() {
    this.place.replaceChildren();
    for (const all of [this.lanes, this.messages, this.calls, this.unwritten, this.moved]) {
      all.clear();
    }
    this.said = "";
    this.meters = {};
  }

  /** Begin a turn: what the user said stands before what is written to it. */
  turn(said, meters = {}) {
    this.wrote = false;
    for (const [name, lane] of this.lanes) {
      lane.said = said;
      lane.meter = new Meter(meters[name]);
      lane.first = null;
      this.moved.add(lane);
    }
    this.times = new Calls();
    this.said = said;
    this.meters = meters;
    // With one lane only it is clear where the answer will stand.
    this.spoken = null;
    if (this.lanes.size === 1) for (const lane of this.lanes.values()) this.say(lane);
  }

  /** What the user said was not taken. */
  unsay() {
    this.spoken?.remove();
  }

  /**
   * A token; shown with the next `draw`. `at` is when it came, or null if that is not known: it
   * was there before.
   * @returns {boolean} whether it held something to count
   */
  token(token, at) {
    if (token.role === "human" || token.role === "system") return false;
    if (this.result(token)) return false;
    const something = Boolean(token.text || token.reasoning || token.tool_calls?.length);
    if (!something) return false;
    const call = callOf(token);
    if (token.type === "message" && this.messages.has(call)) return false;
    const lane = this.lane(laneName(token), token);
    const message = this.message(call, lane);
    if (token.reasoning) message.append("reasoning", token.reasoning);
    if (token.text) message.append(token.role === "tool" ? "result" : "text", token.text);
    for (const part of token.tool_calls ?? []) {
      const place = message.toolCall(part);
      if (part.id) this.calls.set(part.id, { place, lane });
    }
    if (at !== null) {
      lane.meter.feed(call, at);
      this.times.wrote(token.task, call, at);
      lane.first ??= { task: token.task, call };
      lane.last = at;
    }
    this.wrote = true;
    this.unwritten.add(message);
    this.moved.add(lane);
    return true;
  }

  /** A message is void. */
  remove(id) {
    this.messages.get(id)?.place.remove();
    this.messages.delete(id);
  }

  /** The meters by lane, as they are saved. */
  saved() {
    const now = [...this.lanes].map(([name, lane]) => [name, lane.meter.saved()]);
    return { ...this.meters, ...Object.fromEntries(now) };
  }

  /** Draw what changed; called once a frame, however many tokens came. */
  draw(now, running) {
    for (const message of this.unwritten) message.write();
    this.unwritten.clear();
    for (const lane of this.lanes.values()) {
      if (running && lane.meter.tokens) lane.meter.count(now);
      const writing = running && now - lane.last < WRITING;
      if (writing !== lane.writing) lane.place.classList.toggle("writing", writing);
      lane.writing = writing;
      const curve = lane.meter.curve(!running);
      if (curve !== lane.curve) lane.line.setAttribute("points", curve);
      lane.curve = curve;
    }
    for (const { meter, figures, first } of this.moved) {
      if (first) meter.first = this.times.wait(first.task, first.call) ?? meter.first;
      show(figures[0], duration(meter.first));
      show(figures[1], speed(meter.rate));
      show(figures[2], String(meter.tokens));
    }
    // Last, all at once: asking where the end is makes the browser lay out the page.
    for (const lane of this.moved) toEnd(lane);
    this.moved.clear();
  }

  /** What a tool answered goes below the call that asked for it, if that is shown. */
  result(token) {
    const asked = token.tool_call_id && this.calls.get(token.tool_call_id);
    if (!asked) return false;
    if (this.messages.has(token.id)) return true;
    const place = element("pre", "result", token.text);
    asked.place.append(place);
    if (token.id) this.messages.set(token.id, { place });
    this.moved.add(asked.lane);
    return true;
  }

  lane(name, token) {
    const known = this.lanes.get(name);
    if (known) return known;
    const where = [token.tags.length ? token.node : null, token.model].filter(Boolean);
    const lane = { ...laid(name, where.join(" · ")), meter: new Meter(this.meters[name]) };
    Object.assign(lane, { said: this.said, first: null, last: -Infinity, at: 0, writing: false, curve: "" });
    lane.stays = true;
    lane.body.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = lane.body;
      if (scrollHeight - scrollTop - clientHeight < 40) lane.stays = true;
      // A page that is laid out anew moves the end away; only a reader goes back.
      else if (scrollTop < lane.at) lane.stays = false;
      lane.at = scrollTop;
    });
    new ResizeObserver(() => toEnd(lane)).observe(lane.body);
    this.place.append(lane.place);
    this.lanes.set(name, lane);
    return lane;
  }

  /** Put what the user said into a lane, once. */
  say(lane) {
    if (!lane.said) return;
    this.spoken = element("p", "said", lane.said);
    lane.body.append(this.spoken);
    lane.said = "";
    lane.stays = true;
  }

  message(call, lane) {
    const known = this.messages.get(call);
    if (known) return known;
    this.say(lane);
    const message = new Message(element("article"));
    lane.body.append(message.place);
    this.messages.set(call, message);
    return message;
  }
}

/** Show a lane's end, unless its reader went back. */
function toEnd(lane) {
  if (!lane.stays) return;
  lane.body.scrollTop = lane.body.scrollHeight;
  lane.at = lane.body.scrollTop;
}

/** The parts of a lane, laid out. */
function laid(name, where) {
  const place = element("section", "lane");
  place.setAttribute("aria-label", name);
  place.dataset.lane = name;
  const head = element("h2", "", name);
  if (where) head.append(" ", element("small", "", where));
  const list = element("dl");
  const figures = ["first token", "tokens/s", "tokens"].map((label) => {
    const pair = element("div");
    const value = element("dd", "", label === "tokens" ? "0" : "–");
    pair.append(element("dt", "", label), value);
    list.append(pair);
    return value;
  });
  const line = document.createElementNS(SVG, "polyline");
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", "0 0 100 24");
  drawing.setAttribute("preserveAspectRatio", "none");
  drawing.setAttribute("aria-hidden", "true");
  drawing.append(line);
  const body = element("div", "body");
  // So that the keyboard can scroll it.
  body.tabIndex = 0;
  body.setAttribute("role", "region");
  body.setAttribute("aria-label", `${name}: text`);
  place.append(head, list, drawing, body);
  return { place, body, figures, line };
}

function show(place, text) {
  if (place.textContent !== text) place.textContent = text;
}
