// A page with the AI SDK's hook: its address names the graph and the chat.
import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { createRoot } from "react-dom/client";

const [, graph, id] = location.hash.split("/");
const transport = new DefaultChatTransport({ api: `/ai/${graph}` });

function App() {
  const chat = useChat({ id, transport, resume: true });

  function send(event) {
    event.preventDefault();
    chat.sendMessage({ text: new FormData(event.target).get("text") });
  }

  return (
    <>
      {chat.messages.map((message) => (
        <p key={message.id}>
          {message.parts.filter((part) => part.type === "text").map((part) => part.text).join("")}
        </p>
      ))}
      <form onSubmit={send}>
        <input name="text" /> <button>Send</button>{" "}
        <button type="button" onClick={() => chat.regenerate()}>Again</button>
      </form>
      <footer>{chat.status}</footer>
    </>
  );
}

createRoot(document.querySelector("main")).render(<App />);
