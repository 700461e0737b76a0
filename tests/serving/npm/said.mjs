// What a script says to its test: one line of JSON at the end, and before that words to which the
// test does something, and answers with a line.
import { createInterface } from "node:readline";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

// Has the test do something; returns when it is done.
export async function ask(what) {
  console.log(what);
  return (await lines.next()).value;
}

export function say(seen) {
  console.log(JSON.stringify(seen));
  process.exit(0);
}

// Waits for something to become true that no promise tells of.
export async function until(what, name) {
  const deadline = Date.now() + 30000;
  while (!what()) {
    if (Date.now() > deadline) throw new Error(`waited in vain: ${name}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
