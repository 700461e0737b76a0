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
 *     reading.abort();           // stop reading; the run goes on
 *     await reading.cancel();    // stop the run itself
 *
 * A connection that breaks is taken up again where it broke: nothing is lost, nothing comes twice.
 * What another page began, or this one before it was loaded again, is read with
 * `follow("/runs/" + id, {...})`.
 */

/** How a reading can fail. `kind` says what happened, `message` what to tell a person. */
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
 * Server-sent events from text, by the rules of the HTML standard. Plain code: feed it what arrives.
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
   * The events that end in this text, in order.
   * @param {string} text
   * @returns {{event: string, data: string, id: string}[]}
   */
  feed(text) {
    if (!this._began && text) {
      this._began = true;
      if (text.charCodeAt(0) === 0xfeff) text = text.slice(1);
    }
    // The LF of a CR LF that was cut between two chunks belongs to the line that ended.
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
    if (colon === 0) return; // a comment: the server shows that it is there
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value[0] === " ") value = value.slice(1);
    if (name === "data") this._data.push(value);
    else if (name === "event") this._event = value;
    else if (name === "id" && !value.includes("\0")) this._id = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
  }

  _dispatch() {
    // An id counts once its event is whole, even where there is no data to hand on.
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
 * @param {string | URL} graph Where the graph is: "/graphs/NAME".
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
 * Read a run that has begun, from its beginning or from after an event.
 * @param {string | URL} address Where the run is: "/runs/ID".
 * @param {import("./client.d.ts").FollowOptions} [options]
 */
export function follow(address, options = {}) {
  const { only, lastEventId, replay, ...rest } = options;
  return new Reading(rest, _join(address, "/events"), { only, lastEventId, replay, address }, null);
}

/** A run that is being read. `run` and `follow` make these. */
export class Reading {
  constructor(options, url, { only = "", lastEventId = "", replay = "", address = null }, body) {
    /** The id of the last event that was handed on; give it to `follow` to go on from there. */
    this.lastEventId = lastEventId;
    /** The run's id, as soon as it is known. @type {string | null} */
    this.id = null;
    /** Where the run is, "/runs/ID", as soon as it is known. @type {string | null} */
    this.address = address === null ? null : String(address);
    this._options = { retries: 30, silence: 45_000, headers: {}, ...options };
    this._fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
    this._asked = new URLSearchParams(Object.entries({ only, replay }).filter(([, each]) => each));
    this._leaving = new AbortController();
    this._over = false;
    /** Settles when the run is known, or never will be. @type {Promise<void>} */
    this._begun = new Promise((resolve) => (this._settle = resolve));
    if (options.signal) {
      if (options.signal.aborted) this.abort();
      else options.signal.addEventListener("abort", () => this.abort(), { once: true });
    }
    /** Settles when reading is over, however it ended; rejects only with what a callback threw. @type {Promise<void>} */
    this.done = this._read(url, body).finally(() => this._settle());
  }

  /** Stop reading. The run goes on, and can be followed again; no callback is called any more. */
  abort() {
    this._over = true;
    this._leaving.abort();
  }

  /**
   * Stop the run itself; what it had written stays. Its last event comes as any other. A run that
   * is about to begin is stopped as soon as it has.
   */
  async cancel() {
    if (!this.address) await this._begun;
    if (!this.address) {
      throw new TokenweirError("refused", "the run did not begin: there is nothing to cancel");
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
        if (!(error instanceof TokenweirError)) throw error; // from a callback: the page's own
        problem = error;
      }
      if (problem.kind === "refused") return this._fail(problem);
      // A run whose start was not answered may have begun or not: starting it again might run it
      // twice, so that is left to whoever asked for it. A start that was answered did not begin it.
      if (!this.address) {
        if (problem.status !== null) problem.kind = "refused";
        return this._fail(problem);
      }
      url = _join(this.address, "/events");
      body = null;
      tries = this.lastEventId === before ? tries + 1 : 1;
      if (tries > this._options.retries) return this._fail(problem);
      this._options.reconnect?.(tries, problem);
      // At most doubled three times, so that a network that is back is soon found to be; by chance
      // a little more or less, so that not all readers of a server come back at once.
      const pause = tries === 1 ? Math.min(wait, 250) : wait * 2 ** Math.min(tries - 2, 3);
      await this._pause(pause * (0.75 + Math.random() / 2));
    }
  }

  /** Read one connection to its end. Throws TokenweirError for what may be tried again, or not. */
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
      // The server has nothing more to tell: the run's end was read before.
      this._over = true;
      return new ReadableStream({ start: (controller) => controller.close() });
    }
    if (!response.ok || !response.body) throw await _refusal(response);
    const place = response.headers.get("content-location");
    if (place) {
      // Beside the graphs, also where a proxy has put the server below a path of its own.
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

/** What the network did wrong, as one kind of error. */
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
    // No JSON: the status has to do.
  }
  // What may pass by itself is worth another try; what was wrong with the request is not.
  const passing = response.status === 429 || response.status >= 500;
  const more = { status: response.status, data };
  return new TokenweirError(passing ? "connection" : "refused", String(message), more);
}
