// React's useStream in a page without a browser.
import { JSDOM } from "jsdom";

const page = new JSDOM("<div></div>", { url: "http://localhost/" });
globalThis.window = page.window;
globalThis.document = page.window.document;
Object.defineProperty(globalThis, "navigator", { value: page.window.navigator });
// They look for a page when they are loaded.
const { createElement } = await import("react");
const { createRoot } = await import("react-dom/client");

export const ask = (text) => ({ messages: [{ type: "human", content: text }] });
const textOf = (message) => message.text ?? message.content;

// Mounts a component that uses the hook; what it shows is in `shown`.
export function mountWith(useStream, options) {
  const shown = { texts: [] };
  function Component() {
    shown.stream = useStream({ apiUrl: process.argv[2], apiKey: null, ...options });
    const last = shown.stream.messages.at(-1);
    if (last?.type === "ai" && textOf(last) !== shown.texts.at(-1)) shown.texts.push(textOf(last));
    return null;
  }
  const root = createRoot(document.querySelector("div").appendChild(document.createElement("p")));
  root.render(createElement(Component));
  shown.unmount = () => root.unmount();
  shown.said = () => shown.stream.messages.map(textOf);
  shown.until = async (what, name) => {
    const deadline = Date.now() + 90000;
    while (!what(shown.stream)) {
      if (Date.now() > deadline) {
        const { values, error, isLoading } = shown.stream;
        throw new Error(`${name}: ${error} ${JSON.stringify({ values, isLoading, said: shown.said(), texts: shown.texts })}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  return shown;
}
