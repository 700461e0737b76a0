// AG-UI's client, unmodified, against a server of ours: node agui.mjs URL SCENARIO
import { HttpAgent, runHttpRequest, transformHttpEventStream } from "@ag-ui/client";
import { ask, say, until } from "./said.mjs";

const [url, scenario] = process.argv.slice(2);

// connectAgent is the client's; where it asks is its user's to say, as CopilotKit does it.
class Agent extends HttpAgent {
  connect(input) {
    const asked = () => this.fetch(`${this.url}/connect`, this.requestInit(input));
    return transformHttpEventStream(runHttpRequest(asked));
  }
}

const agent = (path, more = {}) => new Agent({ url: `${url}/agui/${path}`, ...more });
let made = 0;
const say_to = (one, content) => one.addMessage({ id: `user-${made++}`, role: "user", content });
const cats = JSON.stringify({ topic: "cats" });
const texts = (one) => one.messages.map((message) => [message.role, message.content ?? ""]);
const last = (one) => one.messages.at(-1)?.content;
const options = { forwardedProps: {} };

const scenarios = {
  async turns() {
    const talk = agent("chat");
    let usage;
    const told = { onRunFinishedEvent: ({ event }) => void (usage = event.usage) };
    say_to(talk, "one");
    await talk.runAgent(options, told);
    say_to(talk, "two");
    await talk.runAgent(options, told);
    return { messages: texts(talk), usage, metadata: talk.messages.at(-1).metadata };
  },

  async lanes() {
    const talk = agent("joke_poem_parallel");
    const steps = [];
    say_to(talk, "cats");
    await talk.runAgent(options, {
      onStepStartedEvent: ({ event }) => void steps.push(event.stepName),
      onStepFinishedEvent: ({ event }) => void steps.push(`-${event.stepName}`),
    });
    const lanes = talk.messages.slice(1).map((each) => [each.metadata.tokenweir.tags, each.content]);
    const told = agent("joke_poem_parallel");
    say_to(told, "cats");
    await told.runAgent({ forwardedProps: { only: "tag:joke" } });
    return { lanes, steps: steps.sort(), state: talk.state, only: texts(told).slice(1) };
  },

  async tools() {
    const talk = agent("agent");
    say_to(talk, "how much");
    await talk.runAgent(options);
    const shown = JSON.stringify(talk.messages);
    const again = agent("agent", { threadId: talk.threadId });
    await again.connectAgent(options);
    return { messages: talk.messages, same: texts(again), shown: shown.length > 0 };
  },

  async reasoning() {
    const talk = agent("chat");
    say_to(talk, "think");
    await talk.runAgent(options);
    return texts(talk);
  },

  async nested() {
    const talk = agent("nested");
    const told = [];
    say_to(talk, cats);
    await talk.runAgent(options, { onEvent: ({ event }) => void told.push(event) });
    const names = Object.fromEntries(
      told.filter((each) => each.type === "SUBAGENT_STARTED").map((e) => [e.subagentRunId, e.name]),
    );
    return {
      order: told
        .filter((each) => /^(STEP|SUBAGENT|RUN)/.test(each.type))
        .map((each) => `${each.type} ${each.stepName ?? ""} ${names[each.subagentRunId] ?? ""}`.trim()),
      owners: talk.messages.slice(1).map((each) => names[each.subagentRunId]),
    };
  },

  async fans() {
    const talk = agent("fans");
    say_to(talk, JSON.stringify({ topics: ["a", "b"] }));
    await talk.runAgent(options);
    return texts(talk).slice(1).sort();
  },

  async interrupt() {
    const talk = agent("asks");
    say_to(talk, cats);
    await talk.runAgent(options);
    const [question] = talk.pendingInterrupts;
    const loaded = agent("asks", { threadId: talk.threadId });
    await loaded.connectAgent(options);
    const same = JSON.stringify(loaded.pendingInterrupts) === JSON.stringify(talk.pendingInterrupts);
    const entry = { interruptId: question.id, status: "resolved", payload: "yes" };
    await talk.runAgent({ ...options, resume: [entry] });
    return { question, same, state: talk.state, left: talk.pendingInterrupts };
  },

  async approve() {
    const talk = agent("approves");
    say_to(talk, "delete true");
    await talk.runAgent(options);
    const [question] = talk.pendingInterrupts;
    const entry = { interruptId: question.id, status: "cancelled" };
    await talk.runAgent({ ...options, resume: [entry] });
    return { call: question.toolCallId, messages: texts(talk) };
  },

  async stop() {
    const talk = agent("chat");
    say_to(talk, "stall");
    const running = talk.runAgent(options);
    await until(() => last(talk) === "la", "a token");
    talk.abortRun();
    await running.catch(() => {});
    await ask("closed");
    say_to(talk, "go on");
    await talk.runAgent(options);
    return texts(talk);
  },

  async reload() {
    const before = agent("chat");
    say_to(before, "hold");
    const running = before.runAgent(options);
    await until(() => last(before) === "one two", "two tokens");
    before.abortRun();
    await running.catch(() => {});
    const after = agent("chat", {
      threadId: before.threadId,
      initialMessages: structuredClone(before.messages),
    });
    const connected = after.connectAgent(options);
    await until(() => after.messages.length === 2 && last(after) === "one two", "connected");
    await ask("go on");
    await connected;
    return texts(after);
  },

  async killed() {
    // Besides rejecting, the client leaves a promise of its own alone when its connection breaks.
    process.on("unhandledRejection", () => {});
    const talk = agent("chat");
    say_to(talk, "hold");
    const running = talk.runAgent(options).then(() => false, () => true);
    await until(() => last(talk) === "one two", "two tokens");
    await ask("kill");
    const broken = await running;
    await talk.connectAgent(options);
    return { broken, messages: texts(talk) };
  },

  async history() {
    const talk = agent("joke_poem");
    say_to(talk, "cats");
    await talk.runAgent(options);
    say_to(talk, "dogs");
    await talk.runAgent(options);
    const loaded = agent("joke_poem", { threadId: talk.threadId });
    await loaded.connectAgent(options);
    const empty = agent("joke_poem");
    await empty.connectAgent(options);
    return { messages: texts(loaded), same: loaded.state, empty: empty.messages };
  },

  async retried() {
    const talk = agent("retries");
    const shown = [];
    say_to(talk, "retry");
    await talk.runAgent(options, { onMessagesChanged: () => void shown.push(last(talk)) });
    return { messages: texts(talk), shown: shown.includes("one two three") };
  },

  async custom() {
    const talk = agent("writes");
    const told = [];
    say_to(talk, cats);
    await talk.runAgent(options, { onCustomEvent: ({ event }) => void told.push(event.value) });
    return told;
  },

  async fails() {
    const talk = agent("fails");
    const told = [];
    say_to(talk, cats);
    await talk.runAgent(options, { onRunErrorEvent: ({ event }) => void told.push(event) });
    return told;
  },
};

say(await scenarios[scenario]());
