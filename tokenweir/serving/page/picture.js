/** The graph's picture, in which the nodes at work are lit. */

const STATES = ["active", "done", "failed", "waiting"];

export class Picture {
  /** @param {HTMLElement} place */
  constructor(place) {
    this.place = place;
    this.nodes = new Map();
    this.active = new Map();
  }

  /** @param {string} svg The picture as the server draws it. */
  show(svg) {
    const drawn = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
    this.place.replaceChildren(document.importNode(drawn, true));
    this.nodes = new Map(
      [...this.place.querySelectorAll("[data-node]")].map((node) => [node.dataset.node, node]),
    );
    this.active.clear();
  }

  /** A run begins: nothing is lit. */
  begin() {
    this.active.clear();
    for (const node of this.nodes.values()) node.classList.remove(...STATES);
    this.nodes.get("__start__")?.classList.add("done");
  }

  /** A node began or ended; it may be at work several times at once. */
  node({ node, namespace, state }) {
    const name = [...namespace.map((part) => part.split(":")[0]), node].join(":");
    const count = (this.active.get(name) ?? 0) + (state === "started" ? 1 : -1);
    this.active.set(name, Math.max(count, 0));
    const classes = this.nodes.get(name)?.classList;
    if (!classes) return;
    classes.toggle("active", count > 0);
    if (state === "finished") classes.add("done");
    classes.toggle("failed", state === "failed");
    classes.toggle("waiting", state === "waiting");
  }

  /** A run is over; nothing is at work any more. */
  end(success) {
    this.active.clear();
    for (const node of this.nodes.values()) node.classList.remove("active");
    if (success) this.nodes.get("__end__")?.classList.add("done");
  }
}
