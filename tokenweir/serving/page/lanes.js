/** Lanes: one for each tag, filled token by token, with reasoning and tool calls apart. */

import { Meter, duration } from "./meter.js";

const LINE = "http://www.w3.org/2000/svg";

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
    this.moved = new Set();
  }

  clear() {
    this.place.replaceChildren();
    for (const all of [this.lanes, this.messages, this.calls, this.moved]) all.clear();
  }

  /** Begin a turn: what the user said stands before what is written to it. */
  turn(said, meters = {}) {
    for (const [name, lane] of this.lanes) {
      lane.said = said;
      lane.meter = new Meter(meters[name]);
    }
    this.said = said;
    this.meters = meters;
  }

  /**
   * A token. `at` is when it came, or null if that is not known: it was there before.
   * @returns {boolean} whether it held something
   */
  token(token, at, began) {
    if (token.role === "human" || token.role === "system") return false;
    const answered = token.tool_call_id && this.calls.get(token.tool_call_id);
    if (answered) {
      answered.call.append(element("pre", "result", token.text));
      this.moved.add(answered.lane);
      return false;
    }
    const something = Boolean(token.text || token.reasoning || token.tool_calls?.length);
    if (!something) return false;
    const call = callOf(token);
    if (token.type === "message" && this.messages.has(call)) return false;
    const lane = this.lane(laneName(token), token);
    const message = this.message(call, lane);
    if (token.reasoning) this.append(message, "reasoning", token.reasoning);
    if (token.text) this.append(message, token.role === "tool" ? "result" : "text", token.text);
    for (const part of token.tool_calls ?? []) this.toolCall(message, part);
    if (at !== null) lane.meter.feed(call, at, began);
    this.moved.add(lane);
    return something;
  }

  /** A message is void. */
  remove(id) {
    this.messages.get(id)?.place.remove();
    this.messages.delete(id);
  }

  /** The meters by lane, as they are saved. */
  saved() {
    return Object.fromEntries([...this.lanes].map(([name, lane]) => [name, lane.meter.saved()]));
  }

  /** Draw what changed; called once a frame. */
  draw(now, running) {
    for (const lane of this.lanes.values()) {
      if (running && lane.meter.tokens) {
        lane.meter.count(now);
        this.moved.add(lane);
      }
    }
    for (const lane of this.moved) {
      const { meter, body } = lane;
      lane.first.textContent = duration(meter.first);
      lane.rate.textContent = meter.rate === null ? "–" : meter.rate.toFixed(1);
      lane.count.textContent = String(meter.tokens);
      lane.line.setAttribute("points", meter.points());
      if (lane.stays) body.scrollTop = body.scrollHeight;
    }
    this.moved.clear();
  }

  lane(name, token) {
    const known = this.lanes.get(name);
    if (known) return known;
    const place = element("section", "lane");
    const body = element("div", "body");
    const first = element("dd", "", "–");
    const rate = element("dd", "", "–");
    const count = element("dd", "", "0");
    const line = document.createElementNS(LINE, "polyline");
    const drawing = document.createElementNS(LINE, "svg");
    drawing.setAttribute("viewBox", "0 0 100 24");
    drawing.setAttribute("preserveAspectRatio", "none");
    drawing.setAttribute("aria-hidden", "true");
    drawing.append(line);
    const figures = element("dl");
    for (const [label, value] of [["first token", first], ["tokens/s", rate], ["tokens", count]]) {
      const pair = element("div");
      pair.append(element("dt", "", label), value);
      figures.append(pair);
    }
    const head = element("h2", "", name);
    const where = [token.tags.length ? token.node : null, token.model].filter(Boolean).join(" · ");
    head.append(element("small", "", where));
    place.setAttribute("aria-label", name);
    place.dataset.lane = name;
    // So that the keyboard can scroll it.
    body.tabIndex = 0;
    body.setAttribute("role", "region");
    body.setAttribute("aria-label", `${name}: text`);
    place.append(head, figures, drawing, body);
    this.place.append(place);
    const lane = { place, body, first, rate, count, line, stays: true, said: this.said };
    lane.meter = new Meter(this.meters?.[name]);
    body.addEventListener("scroll", () => {
      lane.stays = body.scrollHeight - body.scrollTop - body.clientHeight < 40;
    });
    this.lanes.set(name, lane);
    return lane;
  }

  message(call, lane) {
    const known = this.messages.get(call);
    if (known) return known;
    if (lane.said) {
      lane.body.append(element("p", "said", lane.said));
      lane.said = "";
    }
    const place = element("article");
    lane.body.append(place);
    const message = { place, lane, kind: null, node: null, calls: new Map() };
    this.messages.set(call, message);
    return message;
  }

  /** Text of a kind, behind the last of its kind, or in a new place after another. */
  append(message, kind, text) {
    if (message.kind !== kind) {
      message.kind = kind;
      message.node = document.createTextNode("");
      if (kind === "reasoning") {
        const thought = element("details", "reasoning");
        thought.open = true;
        const inside = element("div");
        inside.append(message.node);
        thought.append(element("summary", "", "Reasoning"), inside);
        message.place.append(thought);
      } else {
        const place = element(kind === "result" ? "pre" : "div", kind);
        place.append(message.node);
        message.place.append(place);
      }
    }
    message.node.appendData(text);
  }

  toolCall(message, part) {
    const index = part.index ?? part.id ?? message.calls.size;
    let call = message.calls.get(index);
    if (!call) {
      call = element("div", "call");
      call.append(element("b"), element("code"));
      message.calls.set(index, call);
      message.place.append(call);
      message.kind = null;
    }
    if (part.id) this.calls.set(part.id, { call, lane: message.lane });
    const args = typeof part.args === "string" ? part.args : JSON.stringify(part.args ?? "");
    call.firstChild.append(part.name ?? "");
    call.children[1].append(part.args == null ? "" : args);
  }
}

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}
