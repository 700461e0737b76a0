/**
 * A conversation with a graph: turns, each a run, drawn as their events come. It survives a reload,
 * through `saved()`. It knows no buttons and fields, but reports its phases.
 */

import { follow, run } from "./client.js";
import { Meter } from "./meter.js";
import { ROOT, headers } from "./server.js";

/** The phases in which a run is in progress. */
const BUSY = new Set(["starting", "running", "broken", "stopping"]);

export class Conversation {
  /**
   * @param {{name: string, input: any[] | null}} graph
   * @param {{lanes: import("./lanes.js").Lanes, picture: import("./picture.js").Picture,
   *   tell: (phase: string, more?: object) => void}} stage `tell` is called with each new phase:
   *   starting, running, broken, stopping, then done, stopped, waiting or failed.
   * @param {{thread?: string | null, turns?: object[]}} [kept]
   */
  constructor(graph, stage, kept = {}) {
    this.graph = graph;
    this.stage = stage;
    this.thread = kept.thread ?? null;
    this.turns = kept.turns ?? [];
    this.turn = null;
    this.phase = "ready";
    this.total = new Meter();
    this.reading = null;
    /** The turns from before a reload that still have to be shown. */
    this.ahead = 0;
  }

  /** Whether runs continue the conversation; with other graphs, each run starts afresh. */
  get isTalk() {
    return this.graph.input === null || this.graph.input.some(({ type }) => type === "messages");
  }

  get busy() {
    return BUSY.has(this.phase);
  }

  /**
   * Run the graph.
   * @param {{input?: any, said?: string, only?: string, command?: object}} turn Without input and
   *   command, the last run continues from where it failed.
   */
  async begin({ input, said = "", only = "", command }) {
    const { lanes, picture } = this.stage;
    const keeps = this.isTalk || input === undefined;
    if (!keeps) {
      this.turns = [];
      this.thread = null;
      lanes.clear();
    }
    this.thread ??= newId();
    this.turn = { input, command, said, began: Date.now() };
    this.turns.push(this.turn);
    this.total = new Meter();
    this.reading = null;
    lanes.turn(keeps ? said : "");
    picture.begin();
    const options = { ...this.callbacks(), only, thread: this.thread, command };
    this.tell("starting");
    this.reading = run(`${ROOT}/graphs/${encodeURIComponent(this.graph.name)}`, input, options);
    await this.reading.done;
  }

  /** Show the turns from before a reload, and continue with an unfinished run. */
  async goOn() {
    const known = this.turns.filter(({ run: id }) => id);
    this.ahead = known.length;
    for (const turn of known) {
      this.ahead -= 1;
      this.turn = turn;
      this.reading = null;
      this.total = new Meter(turn.total);
      this.stage.lanes.turn(this.isTalk ? (turn.said ?? "") : "", turn.meters);
      this.stage.picture.begin();
      const callbacks = this.callbacks();
      // Tokens that came while the page was away are counted one by one.
      const replay = turn.last && turn.seconds === undefined ? "full" : "compact";
      this.tell("starting");
      const address = `${ROOT}/runs/${encodeURIComponent(turn.run)}`;
      this.reading = follow(address, { ...callbacks, replay });
      await this.reading.done;
    }
  }

  /** Stop the run, even if it is still starting. */
  async stop() {
    if (!this.busy || this.phase === "stopping") return;
    const { phase, turn } = this;
    this.tell("stopping");
    try {
      await this.reading.cancel();
    } catch (error) {
      // If the run has ended anyway, its end was reported already.
      if (this.phase === "stopping" && this.turn === turn) this.tell(phase, { problem: error });
    }
  }

  /** Draw the changes since the last frame. */
  draw(now) {
    this.stage.lanes.draw(now, this.busy);
  }

  /** The duration of the turn so far, or in all, in milliseconds; null if unknown. */
  elapsed(now) {
    if (this.busy) return this.turn.began === undefined ? null : now - this.turn.began;
    return this.turn?.seconds === undefined ? null : this.turn.seconds * 1000;
  }

  saved() {
    if (this.turn) {
      this.turn.meters = this.stage.lanes.saved();
      this.turn.total = this.total.saved();
      if (this.reading) this.turn.last = this.place();
    }
    return { graph: this.graph.name, thread: this.thread, turns: this.turns };
  }

  tell(phase, more = {}) {
    this.phase = phase;
    this.stage.tell(phase, more);
  }

  /** Report that the turn has ended, unless another one is shown right after it. */
  over(phase, more) {
    if (this.ahead === 0) this.tell(phase, more);
  }

  callbacks() {
    const { lanes, picture } = this.stage;
    const turn = this.turn;
    let known = turn.last ?? 0;
    return {
      headers: headers(),
      begin: (begun) => {
        turn.run = begun.id;
        if (this.phase !== "stopping") this.tell("running");
      },
      delta: (token) => {
        const seen = this.place() <= known;
        const now = Date.now();
        const counts = lanes.token(token, seen ? null : now);
        if (!counts || seen) return;
        this.total.feed(`${token.id} ${token.task}`, now);
        if (turn.began !== undefined) this.total.first ??= now - turn.began;
      },
      remove: ({ id }) => lanes.remove(id),
      other: (event, record) => {
        if (event === "node") {
          picture.node(record);
          const begins = record.state === "started" && this.place() > known;
          if (begins) lanes.times.began(record.task, Date.now());
        }
        if (event !== "run") return;
        // Events from before this page was loaded are shown, but not measured.
        if (turn.began === undefined) known = record.last;
        this.thread = record.thread ?? this.thread;
        if (this.phase !== "stopping") this.tell("running");
      },
      finish: (end) => {
        const waits = end.interrupts.length > 0;
        picture.end(end.status === "success");
        turn.seconds = end.seconds;
        const problem = end.warning && { message: end.warning };
        if (waits) this.over("waiting", { problem, interrupts: end.interrupts });
        else this.over(end.status === "success" ? "done" : "stopped", { problem });
      },
      fail: (problem) => {
        picture.end(false);
        if (turn.began !== undefined) turn.seconds = (Date.now() - turn.began) / 1000;
        this.over("failed", { problem });
      },
      reconnect: () => {
        if (this.phase !== "stopping") this.tell("broken");
      },
    };
  }

  /** The place in the run of the current event. */
  place() {
    return Number(this.reading.lastEventId.split(":").pop());
  }
}

function newId() {
  // crypto.randomUUID exists only for https and localhost.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
