// @ag-ui/langgraph, which CopilotKit's runtime brings, unmodified, against LangGraph's API of a
// server of ours: node agui_langgraph.mjs URL SCENARIO
import { LangGraphAgent } from "@ag-ui/langgraph";
import { ask, say, until } from "./said.mjs";

const [url, scenario] = process.argv.slice(2);
const agent = (graphId, more = {}) => new LangGraphAgent({ graphId, deploymentUrl: url, ...more });
let made = 0;
const say_to = (one, content) => one.addMessage({ id: `user-${made++}`, role: "user", content });
const texts = (one) => one.messages.map((message) => [message.role, message.content ?? ""]);
async function run(one, options = {}, told = []) {
  await one.runAgent(options, { onEvent: ({ event }) => void told.push(event) });
  return told;
}
const of = (told, type) => told.filter((each) => each.type === type);

const scenarios = {
  async turns() {
    const talk = agent("chat");
    say_to(talk, "one");
    const told = await run(talk);
    say_to(talk, "two");
    await run(talk);
    const deltas = of(told, "TEXT_MESSAGE_CONTENT").map((each) => each.delta);
    return { messages: texts(talk), deltas, ends: [told[0].type, told.at(-1).type] };
  },

  async tools() {
    const talk = agent("agent");
    say_to(talk, "how much");
    const told = await run(talk);
    const [result] = of(told, "TOOL_CALL_RESULT");
    return {
      args: of(told, "TOOL_CALL_ARGS").map((each) => each.delta).join(""),
      result: [result.toolCallId, result.content],
      messages: texts(talk),
    };
  },

  async reasoning() {
    const talk = agent("chat");
    say_to(talk, "think");
    const told = await run(talk);
    return {
      thoughts: of(told, "REASONING_MESSAGE_CONTENT").map((each) => each.delta),
      deltas: of(told, "TEXT_MESSAGE_CONTENT").map((each) => each.delta),
    };
  },

  async nested() {
    const talk = agent("nested");
    talk.setState({ topic: "cats" });
    const told = await run(talk);
    return { steps: of(told, "STEP_STARTED").map((each) => each.stepName), state: talk.state };
  },

  async interrupt() {
    const talk = agent("asks");
    talk.setState({ topic: "cats" });
    const [question] = of(await run(talk), "CUSTOM");
    await run(talk, { forwardedProps: { command: { resume: "yes" } } });
    return { question: [question.name, JSON.parse(question.value)], state: talk.state };
  },

  async fails() {
    const talk = agent("fails");
    talk.setState({ topic: "cats" });
    const told = [];
    await run(talk, {}, told).catch(() => {}); // the package tells of a step behind the error
    return of(told, "RUN_ERROR").map((each) => each.message);
  },

  async stop() {
    const talk = agent("chat");
    say_to(talk, "stall");
    const running = run(talk).catch(() => {});
    await until(() => talk.messages.at(-1)?.content === "la", "a token");
    talk.abortRun();
    await ask("closed");
    await running;
    return texts(talk);
  },
};

say(await scenarios[scenario]());
