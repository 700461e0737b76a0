import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { createRoot } from "react-dom/client";

// The page's address names the chat, so that it can be loaded again in the middle of an answer.
const id = (location.hash ||= `#${crypto.randomUUID()}`).slice(1);
const transport = new DefaultChatTransport({ api: "http://127.0.0.1:2024/ai/joke_poem_parallel" });

function Answer({ message }) {
  const texts = message.parts.filter((part) => part.type === "text");
  return (
    <main>
      {["joke", "poem"].map((tag) => {
        const ours = texts.filter((part) => part.providerMetadata.tokenweir.tags[0] === tag);
        return (
          <section key={tag}>
            <h2>{tag}</h2>
            <p className={tag}>{ours.map((part) => part.text).join("\n")}</p>
          </section>
        );
      })}
    </main>
  );
}

function App() {
  const chat = useChat({ id, transport, resume: true });

  function write(event) {
    event.preventDefault();
    chat.sendMessage({ text: new FormData(event.target).get("topic") });
  }

  return (
    <>
      {chat.messages.map((message) =>
        message.role === "user" ? (
          <h1 key={message.id}>{message.parts.map((part) => part.text)}</h1>
        ) : (
          <Answer key={message.id} message={message} />
        ),
      )}
      <form onSubmit={write}>
        <input name="topic" defaultValue="cats" /> <button>Write</button>{" "}
        <button type="button" onClick={chat.stop}>Stop</button>
      </form>
      <footer>{chat.error?.message ?? chat.status}</footer>
    </>
  );
}

createRoot(document.querySelector("div")).render(<App />);
