/** Shows one message: text, reasoning and tool calls, each in its own element, in order. */

/** Characters of a piece of text after which the next line begins a new piece: browsers lay out a
 * piece again on each change, so a long one would make each token more expensive. */
const LONG = 4000;

export class Message {
  /** @param {HTMLElement} place */
  constructor(place) {
    this.place = place;
    this.kind = null;
    /** Where text is currently added, and how much of it is there. */
    this.inside = null;
    this.piece = null;
    this.length = 0;
    this.waiting = "";
    this.calls = new Map();
  }

  /** Add text of a kind ("text", "reasoning", "result"); `write` shows it. */
  append(kind, text) {
    if (this.kind !== kind) {
      this.write();
      this.begin(kind);
    }
    this.waiting += text;
  }

  /** Add a part of a tool call. @returns {HTMLElement} the call's element */
  toolCall(part) {
    const index = part.index ?? part.id ?? this.calls.size;
    let call = this.calls.get(index);
    if (!call) {
      this.write();
      call = element("div", "call");
      call.append(element("b"), element("code"));
      this.calls.set(index, call);
      this.place.append(call);
      this.kind = null;
    }
    const args = typeof part.args === "string" ? part.args : JSON.stringify(part.args ?? "");
    call.firstChild.append(part.name ?? "");
    call.children[1].append(part.args == null ? "" : args);
    return call;
  }

  /** Show the text added since the last call. */
  write() {
    while (this.waiting) {
      const room = Math.max(LONG - this.length, 0);
      const end = this.waiting.length > room ? this.waiting.indexOf("\n", room) + 1 : 0;
      const part = end ? this.waiting.slice(0, end) : this.waiting;
      this.piece.appendData(part);
      this.length += part.length;
      this.waiting = this.waiting.slice(part.length);
      if (end && this.kind !== "result") this.goOn();
    }
  }

  begin(kind) {
    this.kind = kind;
    this.inside = element(kind === "result" ? "pre" : "div", kind === "reasoning" ? "" : kind);
    this.fill();
    if (kind === "reasoning") {
      const thought = element("details", "reasoning");
      thought.open = true;
      thought.append(element("summary", "", "Reasoning"), this.inside);
      this.place.append(thought);
    } else {
      this.place.append(this.inside);
    }
  }

  /** Begin the next piece of the same text. */
  goOn() {
    const before = this.inside;
    this.inside = element("div", before.className);
    this.fill();
    before.after(this.inside);
  }

  fill() {
    this.length = 0;
    this.piece = document.createTextNode("");
    this.inside.append(this.piece);
  }
}

export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}
