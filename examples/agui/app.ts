import { HttpAgent, runHttpRequest, transformHttpEventStream, type RunAgentInput } from "@ag-ui/client";

class Agent extends HttpAgent {
  // Where to ask what a thread holds, and to go on with what runs on it: the client leaves it open.
  protected connect(input: RunAgentInput) {
    return transformHttpEventStream(
      runHttpRequest(() => this.fetch(`${this.url}/connect`, this.requestInit(input))),
    );
  }
}

document.querySelector("div")!.innerHTML = `
  <form><input name="topic" value="cats"> <button>Write</button> <button type="button">Stop</button></form>
  <main><section><h2>joke</h2><p id="joke"></p></section><section><h2>poem</h2><p id="poem"></p></section></main>
  <footer></footer>`;
const form = document.querySelector("form")!;
const footer = document.querySelector("footer")!;

// The page's address names the thread, so that it can be loaded again in the middle of an answer.
const threadId = (location.hash ||= `#${crypto.randomUUID()}`).slice(1);
const agent = new Agent({ url: "http://127.0.0.1:2024/agui/joke_poem_parallel", threadId });

agent.subscribe({
  onMessagesChanged({ messages }) {
    const asked = messages.findLastIndex((message) => message.role === "user");
    for (const lane of ["joke", "poem"]) {
      const ours = messages.slice(asked + 1).filter(({ metadata }) => {
        const about = metadata?.tokenweir as { tags?: string[] } | undefined;
        return about?.tags?.includes(lane);
      });
      document.getElementById(lane)!.textContent = ours.map(({ content }) => content).join("\n");
    }
  },
  onStepStartedEvent: ({ event }) => void (footer.textContent = event.stepName),
  onRunFinishedEvent: ({ outcome }) => void (footer.textContent = outcome),
  onRunErrorEvent: ({ event }) => void (footer.textContent = event.message),
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const content = String(new FormData(form).get("topic"));
  agent.addMessage({ id: crypto.randomUUID(), role: "user", content });
  agent.runAgent().catch((error) => (footer.textContent = error.message));
});
form.querySelector<HTMLButtonElement>("[type=button]")!.onclick = () => agent.abortRun();
agent.connectAgent().catch((error) => (footer.textContent = error.message));
