/** The questions of interrupts, and the answers that are typed. */

import { element } from "./message.js";

/**
 * @param {HTMLElement} place
 * @param {{id: string | null, value: unknown}[]} interrupts
 */
export function showQuestions(place, interrupts) {
  place.replaceChildren(
    ...interrupts.map(({ id, value }, number) => {
      const row = element("div", "question");
      const label = element("label", "", interrupts.length > 1 ? `Answer ${number + 1}` : "Answer");
      const field = element("textarea");
      field.id = `answer-${number}`;
      field.rows = 2;
      field.dataset.interrupt = id ?? "";
      field.placeholder = "Text, or JSON";
      label.htmlFor = field.id;
      const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
      row.append(element("pre", "", text), label, field);
      return row;
    }),
  );
}

/** The value to resume the graph with: one answer, or several by interrupt id. */
export function readAnswers(place) {
  const fields = [...place.querySelectorAll("textarea")];
  if (fields.length === 1) return valueOf(fields[0].value);
  return Object.fromEntries(
    fields.map((field) => [field.dataset.interrupt, valueOf(field.value)]),
  );
}

/** The answers in one line. */
export function answered(resume) {
  const several = typeof resume === "object" && resume !== null;
  const values = several ? Object.values(resume) : [resume];
  return values.map((each) => (typeof each === "string" ? each : JSON.stringify(each))).join(" · ");
}

function valueOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text; // Not JSON: the answer is the text itself.
  }
}
