/** The picture of a graph, with running nodes highlighted. */

const SVG = "http://www.w3.org/2000/svg";
const STATES = ["active", "done", "failed", "waiting"];

export class Picture {
  /** @param {HTMLElement} place */
  constructor(place) {
    this.place = place;
    this.nodes = new Map();
    /** By name: how many tasks of a node are running. */
    this.active = new Map();
    /** By name: the classes of a node, for a picture that is loaded later. */
    this.states = new Map();
  }

  clear() {
    this.place.replaceChildren();
    this.place.hidden = true;
    this.nodes.clear();
    this.begin(false);
  }

  /** @param {string} svg The server's drawing. */
  show(svg) {
    const drawn = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
    const picture = document.importNode(drawn, true);
    // A large picture scrolls instead of becoming too small to read.
    picture.style.minWidth = `${0.6 * Number(drawn.getAttribute("width"))}px`;
    picture.style.minHeight = `${0.6 * Number(drawn.getAttribute("height"))}px`;
    this.place.replaceChildren(picture);
    this.place.hidden = false;
    // A subgraph is drawn as a frame, other nodes as boxes.
    const parts = this.place.querySelectorAll("[data-node], [data-group]");
    this.nodes = new Map([...parts].map((part) => [part.dataset.node ?? part.dataset.group, part]));
    for (const name of this.states.keys()) this.light(name);
    this.reveal();
  }

  /** Begin a run, with no node highlighted. */
  begin(started = true) {
    this.active.clear();
    const names = [...this.states.keys()];
    this.states.clear();
    names.forEach((name) => this.light(name));
    if (started) this.mark("__start__", "done");
  }

  /** Note that a node began or ended; it may run several times in parallel. */
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

  /** End a run: no node is running any more. */
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

  /** If all running nodes are out of sight, scroll the picture (not the page) to one of them. */
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

  /** Show the number of parallel tasks on a node's corner. */
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
