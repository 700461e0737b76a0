/**
 * Measures how soon and how fast tokens come in a browser. No clock: times are passed in, in
 * milliseconds. The state can be saved as JSON and restored after a reload.
 */

const BUCKET = 250;
const BUCKETS = 80;
/** The minimum width of the drawing, in buckets: 5 s. */
const SHORTEST = 20;

export class Meter {
  /** @param {object} [saved] The result of an earlier `saved()`. */
  constructor(saved = {}) {
    this.first = saved.first ?? null;
    this.tokens = saved.tokens ?? 0;
    this.gaps = saved.gaps ?? 0;
    this.between = saved.between ?? 0;
    this.buckets = saved.buckets ?? [];
    this.bucket = saved.bucket ?? null;
    this.last = new Map();
  }

  saved() {
    const { first, tokens, gaps, between, buckets, bucket } = this;
    return { first, tokens, gaps, between, buckets, bucket };
  }

  /** Count a token of a call that came at this time. */
  feed(call, at) {
    this.tokens += 1;
    const last = this.last.get(call);
    if (last !== undefined) {
      this.gaps += 1;
      this.between += at - last;
    }
    this.last.set(call, at);
    this.count(at, 1);
  }

  /** Tokens per second after the first token of each call; null if unknown. */
  get rate() {
    return this.between > 0 ? (this.gaps / this.between) * 1000 : null;
  }

  /** Add tokens to the buckets of the drawing; time without tokens adds empty buckets. */
  count(at, tokens = 0) {
    const bucket = Math.floor(at / BUCKET);
    this.bucket ??= bucket;
    for (let gap = Math.min(bucket - this.bucket, BUCKETS); gap > 0; gap--) this.buckets.push(0);
    this.bucket = Math.max(bucket, this.bucket);
    if (!this.buckets.length) this.buckets.push(0);
    this.buckets[this.buckets.length - 1] += tokens;
    if (this.buckets.length > BUCKETS) this.buckets.splice(0, this.buckets.length - BUCKETS);
  }

  /**
   * The rate over time as points of a polyline, in a box of 0 to 100 by 0 to 24; "" while there is
   * nothing to draw. The current bucket is left out unless the run is `over`.
   */
  curve(over) {
    const values = this.buckets.slice(0, over ? undefined : -1);
    if (!values.length) return "";
    if (values.length === 1) values.push(values[0]);
    const most = Math.max(...values, 1);
    const step = 100 / (Math.max(values.length, SHORTEST) - 1);
    return values
      .map((value, at) => `${(at * step).toFixed(1)},${(23 - (value / most) * 21).toFixed(1)}`)
      .join(" ");
  }
}

/** Finds out how long each call took to its first token, from the times of nodes and tokens. */
export class Calls {
  constructor() {
    this.tasks = new Map();
  }

  /** Note that a node began, as this task. */
  began(task, at) {
    this.tasks.set(task, { at, calls: new Map() });
  }

  /** Note that a call of a task wrote a token. */
  wrote(task, call, at) {
    const calls = this.tasks.get(task)?.calls;
    const before = calls?.get(call);
    if (before) before.last = at;
    else calls?.set(call, { first: at, last: at });
  }

  /**
   * Milliseconds from the start of a call to its first token; null if unknown. No event marks the
   * start of a call: it starts with its node, or when the call before it has ended. A call that
   * still writes after this one's first token ran in parallel, and not before it.
   */
  wait(task, call) {
    const known = this.tasks.get(task);
    const own = known?.calls.get(call);
    if (!own) return null;
    const before = [...known.calls.values()].filter((each) => each !== own && each.last <= own.first);
    return own.first - Math.max(known.at, ...before.map((each) => each.last));
  }
}

/** @param {number | null} perSecond */
export function speed(perSecond) {
  if (perSecond === null) return "–";
  return perSecond < 100 ? perSecond.toFixed(1) : String(Math.round(perSecond));
}

/** @param {number | null} milliseconds */
export function duration(milliseconds) {
  if (milliseconds === null) return "–";
  return milliseconds < 1000
    ? `${Math.round(milliseconds)} ms`
    : `${(milliseconds / 1000).toFixed(2)} s`;
}
