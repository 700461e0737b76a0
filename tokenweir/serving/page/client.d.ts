/** Types of `client.js`. */

/** A piece of what a model writes, or a whole message that a node returned. */
export interface Token {
  type: "token" | "message";
  /** Text of the answer; "" if the token has something else. */
  text: string;
  /** The message's id; tokens with the same id form one message. */
  id: string | null;
  node: string | null;
  tags: string[];
  /** The path of the subgraph, as nodes from the outermost in; [] for the root graph. */
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
  /** The role of a whole message: "ai", "tool", "human" ... */
  role?: string;
  name?: string;
  tool_call_id?: string;
  /** The task that runs the node; it tells parallel runs of a node apart. */
  task: string | null;
}

export interface End {
  type: "end";
  thread: string | null;
  /** How the run ended: "success", or "interrupted" if it waits for an answer or was cancelled. */
  status: string;
  seconds: number;
  interrupts: { id: string | null; value: unknown }[];
  /** What there was, if no model call passed the filter. */
  warning?: string;
}

/** A message is retracted, as its node runs again. Drop what was read of it. */
export interface Removed {
  type: "remove";
  id: string;
}

/** How a reading failed. */
export class TokenweirError extends Error {
  /**
   * "run": the run failed, and all tokens before that were read; "refused": the server did not
   * accept the request, for now (`status` 429 or 503) or for good; "connection": the server cannot
   * be reached, or was away for too long.
   */
  kind: "run" | "refused" | "connection";
  /** The HTTP status, if the server answered with one. */
  status: number | null;
  /** The body of the server's answer, parsed. */
  data: any;
}

export interface Callbacks {
  /** Called once, when the run's id and address are known. */
  begin?: (reading: Reading) => void;
  /** Called for each token. */
  delta?: (token: Token) => void;
  /** Called once, as the last callback, when the run has ended. */
  finish?: (end: End) => void;
  /** Called once, as the last callback, if the run failed or cannot be read. */
  fail?: (error: TokenweirError) => void;
  /** Called when a message is retracted. */
  remove?: (removed: Removed) => void;
  /** Called for other events: "node", "custom", and any that later servers add. */
  other?: (event: string, data: any) => void;
  /** Called when the connection broke, before the `tries`-th attempt to reconnect. */
  reconnect?: (tries: number, problem: TokenweirError) => void;
}

export interface FollowOptions extends Callbacks {
  /** A filter, as text: "tag:joke | node:write". */
  only?: string;
  /** Read events after this one; from the beginning if left out. */
  lastEventId?: string;
  /** How to read from the beginning: "full" gives every token; by default, each message so far is one. */
  replay?: "compact" | "full";
  /** Sent with each request: {"x-api-key": "..."}. */
  headers?: Record<string, string>;
  /** Stops reading when it is aborted. */
  signal?: AbortSignal;
  /** How many attempts to make without any progress; 30 if left out. */
  retries?: number;
  /** Milliseconds of silence after which the connection counts as broken; 45,000 if left out; 0: never. */
  silence?: number;
  /** The function to fetch with; the global `fetch` if left out. */
  fetch?: typeof fetch;
}

export interface RunOptions extends Omit<FollowOptions, "lastEventId" | "replay"> {
  /** The thread to continue, for graphs that keep state. */
  thread?: string;
  /** LangGraph's config: {"configurable": {...}}. */
  config?: object;
  /** LangGraph's context, for graphs that take one. */
  context?: object;
  /** What happens to the run when its connection ends; "continue" if left out. */
  onDisconnect?: "continue" | "cancel";
  /** A command instead of an input, such as the answer to an interrupt: {"resume": ...}. */
  command?: { resume?: unknown; update?: unknown; goto?: unknown };
}

/** A run that is being read. */
export class Reading {
  readonly id: string | null;
  readonly address: string | null;
  readonly lastEventId: string;
  /** Settles when reading has ended; rejects only with a callback's error. */
  readonly done: Promise<void>;
  /** Stop reading. The run continues, and can be followed again. */
  abort(): void;
  /** Stop the run itself; if it is still starting, as soon as it has started. */
  cancel(): Promise<void>;
}

/** Parses server-sent events by the rules of the HTML standard. */
export class EventParser {
  lastEventId: string;
  retry: number | null;
  feed(text: string): { event: string; data: string; id: string }[];
}

/** Start a run of a graph ("/graphs/NAME") and read its tokens. */
export function run(graph: string | URL, input: unknown, options?: RunOptions): Reading;

/** Read a run that was started before ("/runs/ID"), from its beginning or from after an event. */
export function follow(address: string | URL, options?: FollowOptions): Reading;
