// React's useStream, unmodified, in a page without a browser. Prints what it saw as one JSON; a line
// "go on" before that asks for the model to go on where it is held.
import { ask, mountWith } from "./mounted.mjs";
const { useStream } = await import("@langchain/langgraph-sdk/react");

const mount = (options) => mountWith(useStream, options);
const text = (shown) => shown.texts.at(-1);
const seen = {};

// Tokens arrive in messages one by one, and the values hold the whole.
const talk = mount({ assistantId: "talk" });
await talk.until((stream) => stream, "mounted");
talk.stream.submit(ask("count"));
await talk.until(() => text(talk) === "one two", "held");
console.log("go on");
await talk.until((stream) => !stream.isLoading, "done");
seen.texts = talk.texts;
seen.values = talk.stream.values.messages.map((message) => message.content);
talk.unmount();

// A page that is loaded again in the middle joins its run, and gets what it missed.
const store = new Map();
const storage = {
  getItem: (key) => store.get(key) ?? null,
  setItem: (key, value) => store.set(key, value),
  removeItem: (key) => store.delete(key),
};
let threadId = null;
const before = mount({
  assistantId: "talk",
  reconnectOnMount: () => storage,
  onThreadId: (id) => (threadId = id),
});
await before.until((stream) => stream, "mounted");
before.stream.submit(ask("again"));
await before.until(() => text(before) === "three four", "held again");
before.unmount();
const after = mount({ assistantId: "talk", threadId, reconnectOnMount: () => storage });
await after.until(() => text(after) === "three four", "joined");
console.log("go on");
await after.until((stream) => !stream.isLoading && text(after) === "three four five", "joined all");
seen.joined = after.stream.values.messages.map((message) => message.content);
seen.left = [...store.keys()];
after.unmount();

// A graph that asks: the question, and the answer by a command.
const asks = mount({ assistantId: "asks" });
await asks.until((stream) => stream, "mounted");
asks.stream.submit({ topic: "cats" });
await asks.until((stream) => stream.interrupt && !stream.isLoading, "asked");
seen.question = asks.stream.interrupt.value;
asks.stream.submit(undefined, { command: { resume: "yes" } });
await asks.until((stream) => stream.values.answer && !stream.isLoading, "answered");
seen.answer = asks.stream.values.answer;
asks.unmount();

// Stopped, the hook is idle, keeps what came, and the run is over.
const stops = mount({ assistantId: "talk", onThreadId: (id) => (threadId = id) });
await stops.until((stream) => stream, "mounted");
stops.stream.submit(ask("never ending"));
await stops.until(() => text(stops) === "la", "some came");
await stops.stream.stop();
await stops.until((stream) => !stream.isLoading, "stopped");
seen.kept = text(stops);
const client = stops.stream.client;
const [run] = await client.runs.list(threadId);
await client.runs.join(threadId, run.run_id);
seen.stopped = (await client.runs.get(threadId, run.run_id)).status;
stops.unmount();

// A run that fails puts the hook into its error state.
let told = null;
const fails = mount({ assistantId: "fails", onError: (error) => (told = error) });
await fails.until((stream) => stream, "mounted");
fails.stream.submit({ topic: "x" });
await fails.until((stream) => stream.error && !stream.isLoading, "failed");
seen.error = [fails.stream.error.name, fails.stream.error.message, told === fails.stream.error];
fails.unmount();

console.log(JSON.stringify(seen));
process.exit(0);
