/** The graph's picture, in which the nodes at work are lit. */

const SVG = "http://www.w3.org/2000/svg";
const STATES = ["active", "done", "failed", "waiting"];

export class Picture {
  /** @param {HTMLElement} place */
  constructor(place) {
    this.place = place;
    this.nodes = new Map();
    /** By name, how often a node is at work just now. */
    this.active = new Map();
    /** By name, the classes that its node has, so that a picture that comes late has them, too. */
    this.states = new Map();
  }

  clear() {
    this.place.replaceChildren();
    this.place.hidden = true;
    this.nodes.clear();
    this.begin(false);
  }

  /** @param {string} svg The picture as the server draws it. */
  show(svg) {
    const drawn = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
    const picture = document.importNode(drawn, true);
    // A large picture scrolls rather than being too small to be read.
    picture.style.minWidth = `${0.6 * Number(drawn.getAttribute("width"))}px`;
    picture.style.minHeight = `${0.6 * Number(drawn.getAttribute("height"))}px`;
    this.place.replaceChildren(picture);
    this.place.hidden = false;
    // A subgraph has a frame where another node has a box.
    const parts = this.place.querySelectorAll("[data-node], [data-group]");
    this.nodes = new Map([...parts].map((part) => [part.dataset.node ?? part.dataset.group, part]));
    for (const name of this.states.keys()) this.light(name);
    this.reveal();
  }

  /** A run begins: nothing is lit. */
  begin(started = true) {
    this.active.clear();
    const names = [...this.states.keys()];
    this.states.clear();
    names.forEach((name) => this.light(name));
    if (started) this.mark("__start__", "done");
  }

  /** A node began or ended; it may be at work several times at once. */
  node({ node, namespace, state }) {
    const name = [...namespace.map((part) => part.split(":")[0]), node].join(":");
    const count = (this.active.get(name) ?? 0) + (state === "started" ? 1 : -1);
    this.active.set(name, Math.max(count, 0));
    const before = this.states.get(name);
    const done = state === "finished" || before?.has("done");
    this.states.set(name, new Set(done ? ["done"] : []));
    if (state !== "started" && state !== "finished") this.states.get(name).add(state);
    this.light(name);
    this.reveal();
  }

  /** A run is over; nothing is at work any more. */
  end(success) {
    this.active.clear();
    for (const name of this.states.keys()) this.light(name);
    if (success) this.mark("__end__", "done");
  }

  mark(name, state) {
    this.states.set(name, new Set([state]));
    this.light(name);
  }

  light(name) {
    const part = this.nodes.get(name);
    if (!part) return;
    const count = this.active.get(name) ?? 0;
    const states = this.states.get(name);
    for (const state of STATES) part.classList.toggle(state, Boolean(states?.has(state)));
    part.classList.toggle("active", count > 0);
    this.badge(part, count > 1 ? `×${count}` : "");
  }

  /** Scroll the picture, and not the page, to a node at work, if all of them are out of sight. */
  reveal() {
    const { place } = this;
    const wide = place.scrollWidth > place.clientWidth;
    if (!wide && place.scrollHeight <= place.clientHeight) return;
    const lit = [...this.nodes].filter(([name]) => this.active.get(name) > 0);
    const boxes = lit.map(([, part]) => part.getBoundingClientRect());
    const view = place.getBoundingClientRect();
    const inSight = ({ left, right, top, bottom }) =>
      left >= view.left && right <= view.right && top >= view.top && bottom <= view.bottom;
    if (!boxes.length || boxes.some(inSight)) return;
    const [{ left, right, top, bottom }] = boxes;
    place.scrollLeft += (left + right - view.left - view.right) / 2;
    place.scrollTop += (top + bottom - view.top - view.bottom) / 2;
  }

  /** How often a node is at work at once, on its corner. */
  badge(part, text) {
    let badge = part.querySelector(".badge");
    if (!text) return badge?.remove();
    if (!badge) {
      const box = part.querySelector("rect");
      badge = document.createElementNS(SVG, "text");
      badge.setAttribute("class", "badge");
      badge.setAttribute("x", String(box.x.baseVal.value + box.width.baseVal.value));
      badge.setAttribute("y", String(box.y.baseVal.value));
      part.append(badge);
    }
    badge.textContent = text;
  }
}
