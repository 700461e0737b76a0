// useStream of @langchain/react, unmodified, in a page without a browser. Prints what it saw as one
// JSON; a line "go on" before that asks for the model to go on where it is held.
import { ask, mountWith } from "./mounted.mjs";
const { useStream } = await import("@langchain/react");

const mount = (options) => mountWith(useStream, options);
const seen = {};

// Tokens arrive one by one; two turns are two messages each.
let threadId = null;
const talk = mount({ assistantId: "talk", onThreadId: (id) => (threadId = id) });
await talk.until((stream) => stream, "mounted");
talk.stream.submit(ask("count"));
await talk.until(() => talk.texts.at(-1) === "one two", "held");
console.log("go on");
await talk.until((stream) => !stream.isLoading, "done");
seen.texts = [...talk.texts];
seen.first = talk.said();
talk.stream.submit(ask("second turn"));
await talk.until((stream) => stream.isLoading, "second begun");
await talk.until((stream) => !stream.isLoading && stream.messages.length === 4, "second done");
seen.second = talk.said();
talk.unmount();

// A page that is loaded again in the middle goes on with what is under way.
const before = mount({ assistantId: "talk", threadId });
await before.until((stream) => stream?.messages.length === 4, "loaded");
seen.loaded = before.said();
before.stream.submit(ask("again"));
await before.until(() => before.texts.at(-1) === "three four", "held again");
before.unmount();
const after = mount({ assistantId: "talk", threadId });
await after.until(() => after.texts.at(-1) === "three four", "joined");
console.log("go on");
await after.until((stream) => !stream.isLoading && after.texts.at(-1) === "three four five", "joined all");
seen.joined = after.said();
after.unmount();

// A graph that asks: the question, and the answer.
const asks = mount({ assistantId: "asks" });
await asks.until((stream) => stream, "mounted");
asks.stream.submit({ topic: "cats" });
await asks.until((stream) => stream.interrupt && !stream.isLoading, "asked");
seen.question = asks.stream.interrupt.value;
await asks.stream.respond("yes");
await asks.until((stream) => stream.values.answer && !stream.isLoading, "answered");
seen.answer = asks.stream.values.answer;
seen.questions = asks.stream.interrupts.length;
asks.unmount();

// A tool call with its result; a subgraph.
const agent = mount({ assistantId: "agent" });
await agent.until((stream) => stream, "mounted");
agent.stream.submit(ask("compute"));
await agent.until((stream) => stream.messages.length === 4 && !stream.isLoading, "computed");
seen.tools = agent.stream.toolCalls.map((call) => [call.name, call.args, call.status]);
seen.computed = agent.stream.messages.map((message) => message.type);
agent.unmount();

const nested = mount({ assistantId: "nested" });
await nested.until((stream) => stream, "mounted");
nested.stream.submit({ topic: "x" });
await nested.until((stream) => stream.values.second && !stream.isLoading, "nested");
seen.subgraphs = [...nested.stream.subgraphs.values()].map((each) => [each.nodeName ?? each.name ?? each.namespace[0].split(":")[0], each.status]);
nested.unmount();

// Stopped, the hook is idle, keeps what came, and the run is over.
const stops = mount({ assistantId: "talk", onThreadId: (id) => (threadId = id) });
await stops.until((stream) => stream, "mounted");
stops.stream.submit(ask("never ending"));
await stops.until(() => stops.texts.at(-1) === "la", "some came");
await stops.stream.stop();
await stops.until((stream) => !stream.isLoading, "stopped");
seen.kept = stops.texts.at(-1);
const client = stops.stream.client;
const [run] = await client.runs.list(threadId);
await client.runs.join(threadId, run.run_id);
seen.stopped = (await client.runs.get(threadId, run.run_id)).status;
stops.unmount();

// A run that fails puts the hook into its error state.
const fails = mount({ assistantId: "fails" });
await fails.until((stream) => stream, "mounted");
fails.stream.submit({ topic: "x" });
await fails.until((stream) => stream.error && !stream.isLoading, "failed");
seen.error = fails.stream.error.message;
fails.unmount();

console.log(JSON.stringify(seen));
process.exit(0);
