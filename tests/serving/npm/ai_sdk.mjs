// The AI SDK's chat, unmodified, against a server of ours: node ai_sdk.mjs URL SCENARIO VERSION
import { ask, say, until } from "./said.mjs";

const [url, scenario, version] = process.argv.slice(2);
const {
  AbstractChat,
  DefaultChatTransport,
  lastAssistantMessageIsCompleteWithApprovalResponses: approvalsAreThere,
  lastAssistantMessageIsCompleteWithToolCalls: outputsAreThere,
} = await import(version === "6" ? "ai6" : "ai");

// What React's hook keeps in its state.
class State {
  status = "ready";
  error = undefined;
  snapshot = structuredClone;
  constructor(messages) {
    this.messages = messages;
  }
  pushMessage = (message) => (this.messages = [...this.messages, message]);
  popMessage = () => (this.messages = this.messages.slice(0, -1));
  replaceMessage = (at, message) => (this.messages = this.messages.with(at, structuredClone(message)));
}

class Chat extends AbstractChat {
  constructor({ messages = [], ...init }) {
    super({ ...init, state: new State(messages) });
  }
}

function chat(path, more = {}) {
  const transport = new DefaultChatTransport({ api: `${url}/ai/${path}` });
  const talk = new Chat({ transport, onFinish: () => (talk.answers += 1), ...more });
  talk.answers = 0;
  return talk;
}

const cats = JSON.stringify({ topic: "cats" });
const parts = (message, type = "text") => message.parts.filter((part) => part.type === type);
const text = (message) => parts(message ?? { parts: [] }).map((part) => part.text).join("|");
const tool = (message, name) => message.parts.find((part) => part.toolName === name);

const scenarios = {
  async turns() {
    const talk = chat("chat");
    await talk.sendMessage({ text: "one" });
    await talk.sendMessage({ text: "two" });
    return {
      messages: talk.messages.map((message) => [message.role, text(message)]),
      metadata: talk.lastMessage.metadata,
      status: talk.status,
      part: parts(talk.lastMessage)[0],
    };
  },

  async again() {
    const talk = chat("chat");
    await talk.sendMessage({ text: "first" });
    await talk.sendMessage({ text: "count" });
    await talk.regenerate();
    await talk.sendMessage({ text: "edited", messageId: talk.messages[2].id });
    return talk.messages.map((message) => text(message));
  },

  async lanes() {
    const talk = chat("joke_poem_parallel");
    await talk.sendMessage({ text: "cats" });
    const told = chat("joke_poem_parallel?only=tag:joke");
    await told.sendMessage({ text: "cats" });
    const lanes = parts(talk.lastMessage).map(({ text, state, providerMetadata }) => [
      providerMetadata.tokenweir.tags,
      text,
      state,
    ]);
    return { lanes, only: text(told.lastMessage) };
  },

  async tools() {
    const talk = chat("agent", { sendAutomaticallyWhen: outputsAreThere });
    await talk.sendMessage({ text: "how much" });
    return {
      kinds: talk.lastMessage.parts.map((part) => part.type),
      call: talk.lastMessage.parts.find((part) => part.type === "tool-calculate"),
      text: text(talk.lastMessage),
      count: talk.messages.length,
    };
  },

  async reasoning() {
    const talk = chat("chat");
    await talk.sendMessage({ text: "think" });
    return talk.lastMessage.parts.map(({ type, text, state }) => [type, text ?? null, state ?? null]);
  },

  async interrupt() {
    const asked = chat("asks", { sendAutomaticallyWhen: outputsAreThere });
    await asked.sendMessage({ text: cats });
    const question = structuredClone(tool(asked.lastMessage, "interrupt"));
    const { toolCallId } = question;
    asked.addToolOutput({ tool: "interrupt", toolCallId, output: "yes" });
    await until(() => asked.answers === 2 && asked.status === "ready", "answered");
    const { state, output } = tool(asked.lastMessage, "interrupt");
    const count = asked.messages.length;
    return { question, state, output, count, thread: asked.id, end: asked.lastMessage.metadata };
  },

  async approve() {
    const seen = {};
    for (const approved of [true, false]) {
      const talk = chat("approves", { sendAutomaticallyWhen: approvalsAreThere });
      await talk.sendMessage({ text: `delete ${approved}` });
      const waiting = talk.lastMessage.parts.find((part) => part.type === "tool-delete_file");
      const { id } = waiting.approval;
      talk.addToolApprovalResponse({ id, approved, reason: approved ? undefined : "too late" });
      await until(() => talk.answers === 2 && talk.status === "ready", "answered");
      const call = talk.lastMessage.parts.find((part) => part.type === "tool-delete_file");
      seen[approved] = {
        waiting: waiting.state,
        state: call.state,
        output: call.output ?? call.errorText,
        text: text(talk.lastMessage),
        count: talk.messages.length,
      };
    }
    return seen;
  },

  async stop() {
    const talk = chat("chat");
    const sent = talk.sendMessage({ text: "stall" });
    await until(() => text(talk.lastMessage) === "la", "a token");
    await talk.stop();
    await sent;
    await ask("closed");
    const half = text(talk.lastMessage);
    await talk.sendMessage({ text: "go on" });
    return { half, status: talk.status, messages: talk.messages.map((each) => text(each)) };
  },

  async reload() {
    const before = chat("chat");
    before.sendMessage({ text: "hold" });
    await until(() => text(before.lastMessage) === "one two", "two tokens");
    const messages = structuredClone(before.messages);
    await before.stop();
    const after = chat("chat", { id: before.id, messages });
    const resumed = after.resumeStream();
    await until(() => after.status === "streaming", "streaming");
    const half = text(after.lastMessage);
    await ask("go on");
    await resumed;
    const whole = after.messages.map((each) => text(each));
    await after.resumeStream(); // nothing is being written any more
    return { half, whole, again: after.messages.map((each) => text(each)), status: after.status };
  },

  async reloadAnswered() {
    const before = chat("answers", { sendAutomaticallyWhen: outputsAreThere });
    await before.sendMessage({ text: cats });
    const { toolCallId } = tool(before.lastMessage, "interrupt");
    before.addToolOutput({ tool: "interrupt", toolCallId, output: "yes" });
    await until(() => text(before.lastMessage) === "one|two three", "two tokens");
    await before.stop();
    const after = chat("answers", { id: before.id, messages: structuredClone(before.messages) });
    const resumed = after.resumeStream();
    await until(() => text(after.lastMessage) === "one|two three", "streaming");
    await ask("go on");
    await resumed;
    const { state, output } = tool(after.lastMessage, "interrupt");
    return { text: text(after.lastMessage), count: after.messages.length, state, output };
  },

  async killed() {
    const talk = chat("chat");
    const sent = talk.sendMessage({ text: "hold" });
    await until(() => text(talk.lastMessage) === "one two", "two tokens");
    await ask("kill");
    await sent;
    const broken = talk.status;
    await talk.resumeStream();
    // Version 6 cannot take back what it is told before the new server has said that it is void.
    if (version === "6" && talk.status === "error") await talk.resumeStream();
    return { broken, error: talk.error?.message, status: talk.status, messages: talk.messages.map((each) => text(each)) };
  },

  async retried() {
    const talk = chat("retries");
    await talk.sendMessage({ text: "retry" });
    return { messages: talk.messages.map((each) => text(each)), error: talk.error?.message };
  },

  async custom() {
    const seen = [];
    const talk = chat("writes", { onData: (part) => seen.push(part) });
    await talk.sendMessage({ text: cats });
    return { seen, kept: parts(talk.lastMessage, "data-custom").map((part) => part.data) };
  },

  async fails() {
    const talk = chat("fails");
    await talk.sendMessage({ text: cats });
    const lost = chat("nothing");
    await lost.sendMessage({ text: "cats" });
    return { status: talk.status, error: talk.error.message, lost: lost.error.message };
  },
};

say(await scenarios[scenario]());
