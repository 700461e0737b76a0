// LangGraph's npm client, unmodified, against a server of ours: prints what it saw as one JSON.
import { Client } from "@langchain/langgraph-sdk";

const client = new Client({ apiUrl: process.argv[2], apiKey: null });
const seen = {};

const thread = await client.threads.create({ metadata: { who: "ann" } });
const texts = {};
let created = null;
const stream = client.runs.stream(thread.thread_id, "two_steps", {
  input: { topic: "x" },
  streamMode: ["messages-tuple", "updates", "values"],
  streamResumable: true,
  onRunCreated: (run) => (created = run),
});
const events = [];
for await (const part of stream) {
  events.push(part);
  if (part.event === "messages") {
    const [message] = part.data;
    texts[message.id] = (texts[message.id] ?? "") + message.content;
  }
}
seen.texts = Object.values(texts);
seen.first = events[0].event;
seen.last = events.at(-1);
seen.runCreated = created.run_id === events[0].data.run_id;

const again = [];
for await (const part of client.runs.joinStream(thread.thread_id, created.run_id, {
  lastEventId: "-1",
})) {
  again.push(part);
}
seen.sameAgain = JSON.stringify(again) === JSON.stringify(events);

const asked = await client.threads.create();
await client.runs.wait(asked.thread_id, "asks", { input: { topic: "y" } });
seen.question = (await client.threads.getState(asked.thread_id)).tasks[0].interrupts[0].value;
const answered = await client.runs.wait(asked.thread_id, "asks", { command: { resume: "yes" } });
seen.answer = answered.answer;
seen.history = (await client.threads.getHistory(asked.thread_id)).length > 2;

const run = await client.runs.create(thread.thread_id, "stalls", { input: { topic: "stall" } });
await client.runs.cancel(thread.thread_id, run.run_id, true);
seen.cancelled = (await client.runs.get(thread.thread_id, run.run_id)).status;
seen.assistants = (await client.assistants.search()).map((each) => each.graph_id);
await client.threads.delete(thread.thread_id);
try {
  await client.threads.get(thread.thread_id);
} catch (error) {
  seen.gone = error.status ?? String(error).slice(0, 80);
}
console.log(JSON.stringify(seen));
