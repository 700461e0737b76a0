// threads.stream() of LangGraph's npm client, unmodified: prints what it saw as one JSON; a line
// "go on" before that asks for the model to go on where it is held.
import { Client } from "@langchain/langgraph-sdk";

const client = new Client({ apiUrl: process.argv[2], apiKey: null });
const transport = process.argv[3];
const seen = {};
const ask = (text) => ({ messages: [{ type: "human", content: text }] });
const open = (assistantId) => client.threads.stream({ assistantId, transport });

// Messages as they come, with their tags and nodes, and the values.
const steps = open("joke_poem_parallel");
const lanes = {};
const reading = (async () => {
  for await (const message of steps.messages) lanes[message.metadata.tags[0]] = [message.node, await message.text];
})();
await steps.run.start({ input: { topic: "both" } });
seen.output = await steps.output;
await reading;
seen.lanes = lanes;
await steps.close();

// Tokens one by one; two turns on one stream.
const talk = open("talk");
const texts = [];
let held = false;
const turns = (async () => {
  for await (const message of talk.messages) {
    let text = "";
    for await (const token of message.text) {
      text += token;
      if (!held && text === "one two") {
        held = true;
        console.log("go on");
      }
    }
    texts.push(text);
  }
})();
const first = await talk.run.start({ input: ask("count") });
await client.runs.join(talk.threadId, first.run_id);
await turns;
const again = (async () => {
  const subscription = await talk.subscribe(["messages", "lifecycle"]);
  let text = "";
  for await (const event of subscription) {
    const data = event.params.data;
    if (data.event === "message-start") text = "";
    if (data.event === "content-block-delta") text += data.delta.text;
    if (data.event === "message-finish") texts.push(text);
    if (data.event === "completed" && data.run_id !== first.run_id) break;
  }
})();
await talk.run.start({ input: ask("second turn") });
await again;
seen.texts = texts.slice(0, 1).concat(texts.slice(-1));
await talk.close();

// A tool, a subgraph, what a node writes, a question.
const agent = open("agent");
const tools = new Map(); // the client tells of each when it begins and when it ends
const calling = (async () => {
  for await (const call of agent.toolCalls) tools.set(call.id, [call.name, call.input, String(await call.output)]);
})();
await agent.run.start({ input: ask("compute") });
await agent.output;
await calling;
seen.tools = [...tools.values()].map(([name, input, output]) => [name, input, output.includes("42")]);
await agent.close();

const nested = open("nested");
const subgraphs = [];
const finding = (async () => {
  for await (const subgraph of nested.subgraphs) subgraphs.push(subgraph.namespace[0].split(":")[0]);
})();
await nested.run.start({ input: { topic: "x" } });
await nested.output;
await finding;
seen.subgraphs = [...new Set(subgraphs)];
await nested.close();

const asks = open("asks");
const asking = (async () => {
  for await (const _ of asks.values) if (asks.interrupted) break;
})();
await asks.run.start({ input: { topic: "y" } });
await asks.output;
await asking;
seen.question = asks.interrupts[0].payload;
const { interruptId, namespace } = asks.interrupts[0];
const answering = await asks.subscribe(["values", "lifecycle"]);
await asks.input.respond({ interrupt_id: interruptId, namespace, response: "yes" });
for await (const event of answering) {
  if (event.method === "values" && event.params.data.answer) seen.answer = event.params.data.answer;
  if (event.params.data.event === "completed") break;
}
seen.state = (await asks.state.get({ namespace: [] })).values.answer;
seen.tree = (await asks.agent.getTree()).tree.status;
await asks.close();

console.log(JSON.stringify(seen));
process.exit(0);
