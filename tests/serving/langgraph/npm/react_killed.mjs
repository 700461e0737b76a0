// useStream of @langchain/react while its server is killed and started again. Prints "kill" when
// that is to happen, and at the end what it saw as one JSON.
import { ask, mountWith } from "./mounted.mjs";
const { useStream } = await import("@langchain/react");

const talk = mountWith(useStream, { assistantId: "talk", maxReconnectAttempts: 60, reconnectDelayMs: () => 500 });
// A message that became void is left without text.
const said = () => talk.said().filter((text) => text);

await talk.until((stream) => stream, "mounted");
talk.stream.submit(ask("long"));
await talk.until(() => said().at(-1) === "cut off", "held");
console.log("kill");
await talk.until((stream) => !stream.isLoading, "done");
await talk.until(() => said().at(-1) === "from the beginning", "all");
const values = talk.stream.values.messages.map((message) => message.text);
const seen = { said: said(), error: String(talk.stream.error ?? ""), values: values.filter((text) => text) };
talk.stream.submit(ask("next turn"));
await talk.until((stream) => said().at(-1) === "and more" && !stream.isLoading, "next");
console.log(JSON.stringify(seen));
process.exit(0);
