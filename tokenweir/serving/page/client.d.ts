/** Types of `client.js`. */

/** A piece of what a model writes, or a whole message that a node returned. */
export interface Token {
  type: "token" | "message";
  /** Text of the answer; "" where the token holds something else. */
  text: string;
  /** The message's id: tokens with the same id are one message. */
  id: string | null;
  node: string | null;
  tags: string[];
  /** The subgraph, as the nodes that hold it, from the outermost in; [] outside of one. */
  namespace: string[];
  model: string | null;
  reasoning?: string;
  tool_calls?: {
    index: number | string | null;
    id: string | null;
    name: string | null;
    args: string | object;
  }[];
  usage?: { input_tokens: number; output_tokens: number; total_tokens: number };
  finish_reason?: string;
  /** Of whole messages: "ai", "tool", "human" ... */
  role?: string;
  name?: string;
  tool_call_id?: string;
  /** What tells apart what one node writes several times at once. */
  task: string | null;
}

export interface End {
  type: "end";
  thread: string | null;
  /** How the run ended: "success", or "interrupted": it waits for an answer, or was cancelled. */
  status: string;
  seconds: number;
  interrupts: { id: string | null; value: unknown }[];
}

/** A message is void: its node runs again. Throw away what was read of it. */
export interface Removed {
  type: "remove";
  id: string;
}

/** How a reading can fail. */
export class TokenweirError extends Error {
  /**
   * "run": the run failed, after every token before; "refused": the server did not accept the
   * request, for now (`status` 429 or 503) or for good; "connection": the server cannot be reached,
   * or went away for too long.
   */
  kind: "run" | "refused" | "connection";
  /** The HTTP status, if the server answered with one. */
  status: number | null;
  /** What the server said, parsed. */
  data: any;
}

export interface Callbacks {
  /** The run's id and address are known; called once. */
  begin?: (reading: Reading) => void;
  /** A token. */
  delta?: (token: Token) => void;
  /** The run came to its end; called once, and then nothing more. */
  finish?: (end: End) => void;
  /** The run failed, or cannot be read; called once, and then nothing more. */
  fail?: (error: TokenweirError) => void;
  /** A message is void. */
  remove?: (removed: Removed) => void;
  /** Other events: "node", "custom", and what later servers may tell. */
  other?: (event: string, data: any) => void;
  /** The connection broke and is about to be taken up again, for the `tries`-th time. */
  reconnect?: (tries: number, problem: TokenweirError) => void;
}

export interface FollowOptions extends Callbacks {
  /** A filter, as text: "tag:joke | node:write". */
  only?: string;
  /** Read what came after this event; from the beginning if left out. */
  lastEventId?: string;
  /** From the beginning: "full" gives every token; else what was there comes added up. */
  replay?: "compact" | "full";
  /** Sent with each request: {"x-api-key": "..."}. */
  headers?: Record<string, string>;
  /** Stops reading when it is aborted. */
  signal?: AbortSignal;
  /** How often to try again without any progress; 30 if left out. */
  retries?: number;
  /** Milliseconds without a byte after which the connection counts as broken; 45,000; 0: never. */
  silence?: number;
  /** What to fetch with; the global `fetch` if left out. */
  fetch?: typeof fetch;
}

export interface RunOptions extends Omit<FollowOptions, "lastEventId" | "replay"> {
  /** The thread to go on with, for graphs that remember. */
  thread?: string;
  /** LangGraph's config: {"configurable": {...}}. */
  config?: object;
  /** LangGraph's context, for graphs that take one. */
  context?: object;
  /** Whether the run goes on when its connection breaks; "continue" if left out. */
  onDisconnect?: "continue" | "cancel";
  /** An answer to an interrupt, on its thread and instead of an input: {"resume": ...}. */
  command?: { resume?: unknown; update?: unknown; goto?: unknown };
}

/** A run that is being read. */
export class Reading {
  readonly id: string | null;
  readonly address: string | null;
  readonly lastEventId: string;
  /** Settles when reading is over, however it ended; rejects only with what a callback threw. */
  readonly done: Promise<void>;
  /** Stop reading; the run goes on, and can be followed again. */
  abort(): void;
  /** Stop the run itself; one that is about to begin, as soon as it has. */
  cancel(): Promise<void>;
}

/** Server-sent events from text, by the rules of the HTML standard. */
export class EventParser {
  lastEventId: string;
  retry: number | null;
  feed(text: string): { event: string; data: string; id: string }[];
}

/** Start a run of a graph ("/graphs/NAME") and read its tokens. */
export function run(graph: string | URL, input: unknown, options?: RunOptions): Reading;

/** Read a run that has begun ("/runs/ID"), from its beginning or from after an event. */
export function follow(address: string | URL, options?: FollowOptions): Reading;
