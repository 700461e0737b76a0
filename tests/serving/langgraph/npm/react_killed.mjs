// useStream of @langchain/react while its server is killed and started again. Prints "kill" when
// that is to happen, and at the end what it saw as one JSON.
import { JSDOM } from "jsdom";

const page = new JSDOM("<div></div>", { url: "http://localhost/" });
globalThis.window = page.window;
globalThis.document = page.window.document;
Object.defineProperty(globalThis, "navigator", { value: page.window.navigator });
const { createElement } = await import("react");
const { createRoot } = await import("react-dom/client");
const { useStream } = await import("@langchain/react");

const shown = {};
function Component() {
  shown.stream = useStream({ apiUrl: process.argv[2], apiKey: null, assistantId: "talk", maxReconnectAttempts: 60, reconnectDelayMs: () => 500 });
  return null;
}
createRoot(document.querySelector("div")).render(createElement(Component));
// A message that became void is left without text.
const said = () => shown.stream.messages.map((message) => message.text).filter((text) => text);
async function until(what, name) {
  const deadline = Date.now() + 90000;
  while (!what()) {
    if (Date.now() > deadline) throw new Error(`${name}: ${shown.stream?.error} ${JSON.stringify([said(), shown.stream?.isLoading])}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

await until(() => shown.stream, "mounted");
shown.stream.submit({ messages: [{ type: "human", content: "long" }] });
await until(() => said().at(-1) === "cut off", "held");
console.log("kill");
await until(() => !shown.stream.isLoading, "done");
await until(() => said().at(-1) === "from the beginning", "all");
const values = shown.stream.values.messages.map((message) => message.text);
const seen = { said: said(), error: String(shown.stream.error ?? ""), values: values.filter((text) => text) };
shown.stream.submit({ messages: [{ type: "human", content: "next turn" }] });
await until(() => said().at(-1) === "and more" && !shown.stream.isLoading, "next");
console.log(JSON.stringify(seen));
process.exit(0);
