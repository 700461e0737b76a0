/**
 * Reads the tokens of a graph that `tokenweir serve` runs: one ES module, no dependencies, for
 * browsers and for Node 18 and later. Types are in `client.d.ts`.
 *
 *     import { run, follow } from "http://127.0.0.1:2024/page/client.js";
 *
 *     const reading = run("/graphs/joke_poem", { topic: "cats" }, {
 *       only: "tag:joke",
 *       delta: (token) => process(token.text),
 *       finish: (end) => ...,
 *       fail: (error) => ...,
 *     });
 *     reading.abort();           // stop reading; the run continues
 *     await reading.cancel();    // stop the run itself
 *
 * A broken connection is resumed where it broke: nothing is lost or repeated. Use
 * `follow("/runs/" + id, {...})` to read a run that another page started, or this one before a
 * reload.
 */

/** How a reading failed: `kind` is for programs, `message` for users. */
export class TokenweirError extends Error {
  /**
   * @param {"run" | "refused" | "connection"} kind
   * @param {string} message
   * @param {{status?: number, data?: any, cause?: unknown}} [more]
   */
  constructor(kind, message, more = {}) {
    super(message, "cause" in more ? { cause: more.cause } : undefined);
    this.name = "TokenweirError";
    this.kind = kind;
    this.status = more.status ?? null;
    this.data = more.data ?? null;
  }
}

/**
 * Parses server-sent events by the rules of the HTML standard. No I/O: feed it the text received.
 */
export class EventParser {
  constructor() {
    this.lastEventId = "";
    /** @type {number | null} */
    this.retry = null;
    this._rest = "";
    this._began = false;
    this._afterReturn = false;
    this._clear();
  }

  /**
   * The events that are complete with this text, in order.
   * @param {string} text
   * @returns {{event: string, data: string, id: string}[]}
   */
  feed(text) {
    if (!this._began && text) {
      this._began = true;
      if (text.charCodeAt(0) === 0xfeff) text = text.slice(1);
    }
    // The LF of a CR LF that was split between two chunks belongs to the line that ended.
    if (this._afterReturn && text) {
      if (text[0] === "\n") text = text.slice(1);
      this._afterReturn = false;
    }
    if (text.endsWith("\r")) this._afterReturn = true;
    const lines = (this._rest + text).split(/\r\n|\r|\n/);
    this._rest = lines.pop() ?? "";
    const found = [];
    for (const line of lines) {
      if (line === "") {
        const event = this._dispatch();
        if (event) found.push(event);
      } else {
        this._field(line);
      }
    }
    return found;
  }

  _clear() {
    this._event = "";
    /** @type {string[]} */
    this._data = [];
  }

  _field(line) {
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment, such as a heartbeat
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value[0] === " ") value = value.slice(1);
    if (name === "data") this._data.push(value);
    else if (name === "event") this._event = value;
    else if (name === "id" && !value.includes("\0")) this._id = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
  }

  _dispatch() {
    // An id takes effect once its event is complete, even if the event has no data.
    if (this._id !== undefined) this.lastEventId = this._id;
    const event = this._data.length
      ? { event: this._event || "message", data: this._data.join("\n"), id: this.lastEventId }
      : null;
    this._clear();
    return event;
  }
}

/**
 * Start a run of a graph and read its tokens.
 * @param {string | URL} graph The graph's address: "/graphs/NAME".
 * @param {any} input The graph's input.
 * @param {import("./client.d.ts").RunOptions} [options]
 */
export function run(graph, input, options = {}) {
  const { only, thread, config, context, command, onDisconnect, ...rest } = options;
  const body = { input };
  if (only) body.only = only;
  if (thread) body.thread_id = thread;
  if (config) body.config = config;
  if (context) body.context = context;
  if (command) body.command = command;
  if (onDisconnect) body.on_disconnect = onDisconnect;
  return new Reading(rest, _join(graph, "/events"), { only }, body);
}

/**
 * Read a run that was started before, from its beginning or from after an event.
 * @param {string | URL} address The run's address: "/runs/ID".
 * @param {import("./client.d.ts").FollowOptions} [options]
 */
export function follow(address, options = {}) {
  const { only, lastEventId, replay, ...rest } = options;
  return new Reading(rest, _join(address, "/events"), { only, lastEventId, replay, address }, null);
}

/** A run that is being read; made by `run` and `follow`. */
export class Reading {
  constructor(options, url, { only = "", lastEventId = "", replay = "", address = null }, body) {
    /** The id of the last event passed on; `follow` continues after it. */
    this.lastEventId = lastEventId;
    /** The run's id, once it is known. @type {string | null} */
    this.id = null;
    /** The run's address, "/runs/ID", once it is known. @type {string | null} */
    this.address = address === null ? null : String(address);
    this._options = { retries: 30, silence: 45_000, headers: {}, ...options };
    this._fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
    this._asked = new URLSearchParams(Object.entries({ only, replay }).filter(([, each]) => each));
    this._leaving = new AbortController();
    this._over = false;
    /** Settles when the run is known, or cannot be known any more. @type {Promise<void>} */
    this._begun = new Promise((resolve) => (this._settle = resolve));
    if (options.signal) {
      if (options.signal.aborted) this.abort();
      else options.signal.addEventListener("abort", () => this.abort(), { once: true });
    }
    /** Settles when reading has ended; rejects only with a callback's error. @type {Promise<void>} */
    this.done = this._read(url, body).finally(() => this._settle());
  }

  /** Stop reading. The run continues, and can be followed again; no more callbacks are called. */
  abort() {
    this._over = true;
    this._leaving.abort();
  }

  /**
   * Stop the run itself; what it has written stays. Its last event comes like any other. A run that
   * is still starting is stopped as soon as it has started.
   */
  async cancel() {
    if (!this.address) await this._begun;
    if (!this.address) {
      throw new TokenweirError("refused", "the run did not start, so there is nothing to cancel");
    }
    let response;
    try {
      response = await this._fetch(_join(this.address, "/cancel"), {
        method: "POST",
        headers: this._options.headers,
      });
    } catch (cause) {
      throw new TokenweirError("connection", "the server cannot be reached", { cause });
    }
    if (!response.ok) throw await _refusal(response);
  }

  async _read(url, body) {
    let tries = 0;
    let wait = 1000;
    while (!this._over) {
      const before = this.lastEventId;
      let problem;
      try {
        await this._connection(url, body, (retry) => (wait = retry));
        if (this._over) return;
        problem = new TokenweirError("connection", "the connection ended before the run did");
      } catch (error) {
        if (this._over) return;
        if (!(error instanceof TokenweirError)) throw error; // thrown by a callback of the page
        problem = error;
      }
      if (problem.kind === "refused") return this._fail(problem);
      // If the request to start a run got no answer, the run may have started or not: starting it
      // again might run it twice, so the caller decides. If it got an answer, it did not start.
      if (!this.address) {
        if (problem.status !== null) problem.kind = "refused";
        return this._fail(problem);
      }
      url = _join(this.address, "/events");
      body = null;
      tries = this.lastEventId === before ? tries + 1 : 1;
      if (tries > this._options.retries) return this._fail(problem);
      this._options.reconnect?.(tries, problem);
      // Double the pause at most three times, to notice soon that the network is back; vary it
      // randomly, so that not all clients of a server reconnect at the same time.
      const pause = tries === 1 ? Math.min(wait, 250) : wait * 2 ** Math.min(tries - 2, 3);
      await this._pause(pause * (0.75 + Math.random() / 2));
    }
  }

  /** Read one connection until it ends. Throws TokenweirError; its kind tells whether to retry. */
  async _connection(url, body, hint) {
    const silence = new AbortController();
    const leave = () => silence.abort();
    this._leaving.signal.addEventListener("abort", leave);
    let timer;
    const heard = () => {
      clearTimeout(timer);
      if (this._options.silence) timer = setTimeout(leave, this._options.silence);
    };
    try {
      heard();
      const reader = (await this._open(url, body, silence.signal)).getReader();
      const decoder = new TextDecoder();
      const parser = new EventParser();
      parser.lastEventId = this.lastEventId;
      try {
        for (;;) {
          const { done, value } = await _tried(reader.read());
          if (done || this._over) return;
          heard();
          for (const event of parser.feed(decoder.decode(value, { stream: true }))) {
            this.lastEventId = event.id;
            this._take(event);
            if (this._over) return;
          }
          this.lastEventId = parser.lastEventId;
          if (parser.retry !== null) hint(parser.retry);
        }
      } finally {
        reader.cancel().catch(() => {});
      }
    } finally {
      clearTimeout(timer);
      this._leaving.signal.removeEventListener("abort", leave);
    }
  }

  async _open(url, body, signal) {
    const headers = { accept: "text/event-stream", ...this._options.headers };
    if (body !== null) headers["content-type"] = "application/json";
    if (body === null && this.lastEventId) headers["last-event-id"] = this.lastEventId;
    if (body === null && this._asked.size) url += `?${this._asked}`;
    const response = await _tried(
      this._fetch(url, {
        method: body === null ? "GET" : "POST",
        headers,
        body: body === null ? undefined : JSON.stringify(body),
        signal,
        cache: "no-store",
      }),
    );
    if (response.status === 204) {
      // The server has no more events: the run's end was read before.
      this._over = true;
      return new ReadableStream({ start: (controller) => controller.close() });
    }
    if (!response.ok || !response.body) throw await _refusal(response);
    const place = response.headers.get("content-location");
    if (place) {
      // Relative to the graphs, as a proxy may serve them below a path of its own.
      const id = place.replace(/\/+$/, "").split("/").pop();
      this._know(new URL(`../../runs/${id}`, response.url || url).href);
    }
    return response.body;
  }

  _know(address) {
    if (this.address === null || this.id === null) {
      this.address ??= address;
      this.id = decodeURIComponent(this.address.replace(/\/+$/, "").split("/").pop() ?? "");
      this._settle();
      this._options.begin?.(this);
    }
  }

  _take({ event, data }) {
    const record = JSON.parse(data);
    if (event === "token") {
      this._options.delta?.(record);
    } else if (event === "end") {
      this._over = true;
      this._options.finish?.(record);
    } else if (event === "error") {
      this._fail(new TokenweirError("run", record.message || record.error, { data: record }));
    } else if (event === "remove") {
      this._options.remove?.(record);
    } else {
      this._options.other?.(event, record);
    }
  }

  _fail(error) {
    this._over = true;
    this._options.fail?.(error);
  }

  _pause(milliseconds) {
    return new Promise((resolve) => {
      const signal = this._leaving.signal;
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        globalThis.removeEventListener?.("online", done);
        resolve(undefined);
      };
      const timer = setTimeout(done, milliseconds);
      signal.addEventListener("abort", done);
      globalThis.addEventListener?.("online", done);
    });
  }
}

function _join(address, rest) {
  return String(address).replace(/\/+$/, "") + rest;
}

/** Turn errors of the network into TokenweirError. */
async function _tried(promise) {
  try {
    return await promise;
  } catch (cause) {
    throw new TokenweirError("connection", "the connection to the server broke", { cause });
  }
}

async function _refusal(response) {
  let data = null;
  let message = `the server answered ${response.status}`;
  try {
    data = await response.json();
    message = data.detail ?? data.error?.message ?? data.message ?? message;
  } catch {
    // Not JSON: only the status is known.
  }
  // These may pass, so trying again may help; errors of the request itself do not.
  const passing = response.status === 429 || response.status >= 500;
  const more = { status: response.status, data };
  return new TokenweirError(passing ? "connection" : "refused", String(message), more);
}
