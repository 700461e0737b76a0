/** Lanes, one per tag, that fill token by token. `message.js` draws the messages. */

import { element, Message } from "./message.js";
import { Calls, duration, Meter, speed } from "./meter.js";

const SVG = "http://www.w3.org/2000/svg";

/** Milliseconds after its last token for which a lane counts as active. */
const WRITING = 1500;

/** The name of a token's lane: its tags, else its node. */
export function laneName(token) {
  return token.tags.length ? token.tags.join(" ") : token.node || token.model || "tokens";
}

/** Identifies the model call of a token. */
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
    /** The element with the user's message of this turn. */
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

  /** Begin a turn; the user's message is shown before the answer. */
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
    // With only one lane, the answer will be there.
    this.spoken = null;
    if (this.lanes.size === 1) for (const lane of this.lanes.values()) this.say(lane);
  }

  /** Remove the user's message, which the server did not accept. */
  unsay() {
    this.spoken?.remove();
  }

  /**
   * Take a token; `draw` shows it. `at` is when it came; null if it came before the page was loaded.
   * @returns {boolean} whether it counts as a token
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

  /** Remove a retracted message. */
  remove(id) {
    this.messages.get(id)?.place.remove();
    this.messages.delete(id);
  }

  /** The meters by lane, for saving. */
  saved() {
    const now = [...this.lanes].map(([name, lane]) => [name, lane.meter.saved()]);
    return { ...this.meters, ...Object.fromEntries(now) };
  }

  /** Draw the changes; called once per frame, for any number of tokens. */
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
    // Last, and all at once: reading the scroll height makes the browser lay out the page.
    for (const lane of this.moved) toEnd(lane);
    this.moved.clear();
  }

  /** Show a tool's result below its call, if the call is shown. */
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
      // A new layout moves the end away; only a user scrolls back.
      else if (scrollTop < lane.at) lane.stays = false;
      lane.at = scrollTop;
    });
    new ResizeObserver(() => toEnd(lane)).observe(lane.body);
    this.place.append(lane.place);
    this.lanes.set(name, lane);
    return lane;
  }

  /** Show the user's message in a lane, once. */
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

/** Scroll to a lane's end, unless the user has scrolled back. */
function toEnd(lane) {
  if (!lane.stays) return;
  lane.body.scrollTop = lane.body.scrollHeight;
  lane.at = lane.body.scrollTop;
}

/** Create the elements of a lane. */
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
  // The keyboard can scroll it only if it can have the focus.
  body.tabIndex = 0;
  body.setAttribute("role", "region");
  body.setAttribute("aria-label", `${name}: text`);
  place.append(head, list, drawing, body);
  return { place, body, figures, line };
}

function show(place, text) {
  if (place.textContent !== text) place.textContent = text;
}
