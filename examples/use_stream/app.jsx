import { useChannelEffect, useStream } from "@langchain/react";
import { useState } from "react";
import { createRoot } from "react-dom/client";

const MESSAGES = ["messages"];

// The texts of all calls of a run by their tag, as the events tell them. The hook's own `messages`
// are for graphs that keep a conversation, and say nothing of tags.
function useLanes(stream) {
  const [calls, setCalls] = useState({});
  useChannelEffect(stream, MESSAGES, {
    replay: true,
    onEvent({ params: { data } }) {
      setCalls((calls) => {
        const call = calls[data.id] ?? { text: "" };
        if (data.event === "message-start") call.tag = data.metadata.tags?.[0];
        if (data.delta?.type === "text-delta") call.text += data.delta.text;
        const { [data.id]: _, ...others } = calls;
        return data.code === "retracted" ? others : { ...others, [data.id]: { ...call } };
      });
    },
  });
  const of = (tag) => Object.values(calls).filter((call) => call.tag === tag).at(-1)?.text;
  return { joke: of("joke"), poem: of("poem") };
}

function App() {
  const stream = useStream({ apiUrl: "http://127.0.0.1:2024", assistantId: "joke_poem_parallel" });
  const lanes = useLanes(stream);

  function write(event) {
    event.preventDefault();
    stream.submit({ topic: new FormData(event.target).get("topic") });
  }

  return (
    <>
      <form onSubmit={write}>
        <input name="topic" defaultValue="cats" /> <button>Write</button>{" "}
        <button type="button" onClick={() => stream.stop()}>Stop</button>
      </form>
      <main>
        {Object.entries(lanes).map(([tag, text]) => (
          <section key={tag}><h2>{tag}</h2><p id={tag}>{text}</p></section>
        ))}
      </main>
      <footer>{stream.error?.message ?? (stream.isLoading ? "running" : "ready")}</footer>
    </>
  );
}

createRoot(document.querySelector("div")).render(<App />);
