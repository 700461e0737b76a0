/** Fields for the keys of a graph's input, and the input that is typed into them. */

import { element } from "./message.js";

/**
 * @param {HTMLElement} place
 * @param {{name: string, type: string, required: boolean, enum?: any[], default?: any,
 *   description?: string}[] | null} keys
 */
export function showFields(place, keys) {
  const wanted = keys ?? [{ name: "", type: "object", required: true }];
  place.replaceChildren(
    ...wanted.map((key) => {
      const row = document.createElement("div");
      const label = document.createElement("label");
      const field = fieldFor(key);
      field.id = `field-${key.name}`;
      field.dataset.name = key.name;
      field.dataset.type = key.type;
      field.required = key.required && key.type !== "boolean";
      label.htmlFor = field.id;
      label.textContent = key.type === "messages" ? "message" : key.name || "input";
      const optional = !key.required && key.type !== "boolean";
      const notes = [isJson(key.type) && "JSON", optional && "optional"];
      const note = notes.filter(Boolean).join(", ");
      if (note) label.append(" ", element("small", "", `(${note})`));
      if (key.description) field.title = key.description;
      if (key.default !== undefined && key.default !== null) {
        field.value = isJson(key.type) ? JSON.stringify(key.default) : String(key.default);
        field.checked = key.default === true;
      }
      row.append(label, field);
      return row;
    }),
  );
}

/** The graph's input; throws an Error that names a field with an invalid value. */
export function readFields(place) {
  const input = {};
  for (const field of place.querySelectorAll("[data-type]")) {
    const { name, type } = field.dataset;
    if (type === "boolean") {
      input[name] = field.checked;
      continue;
    }
    if (!field.value) continue;
    let value = field.value;
    if (type === "messages") value = [{ role: "user", content: value }];
    else if (type === "integer" || type === "number") value = Number(value);
    else if (isJson(type)) value = parsed(field);
    if (!name) return value;
    input[name] = value;
  }
  return input;
}

/** The input in one line, as a heading for the answer. */
export function said(input) {
  if (typeof input !== "object" || input === null) return String(input ?? "");
  const messages = input.messages;
  if (Array.isArray(messages)) return String(messages.at(-1)?.content ?? "");
  const values = Object.values(input).map((value) =>
    typeof value === "string" ? value : JSON.stringify(value),
  );
  return values.join(" · ");
}

function isJson(type) {
  return !["string", "messages", "integer", "number", "boolean", "any"].includes(type);
}

function parsed(field) {
  try {
    return JSON.parse(field.value);
  } catch {
    field.focus();
    throw new Error(`${field.dataset.name || "the input"} is not JSON`);
  }
}

function fieldFor({ type, enum: options, required, default: preset }) {
  if (options) {
    const select = document.createElement("select");
    if (!required && preset === undefined) select.append(new Option("", ""));
    select.append(...options.map((option) => new Option(String(option))));
    return select;
  }
  if (type === "messages" || isJson(type)) {
    const area = document.createElement("textarea");
    area.rows = 3;
    return area;
  }
  const field = document.createElement("input");
  field.autocomplete = "off";
  if (type === "boolean") field.type = "checkbox";
  else if (type === "integer" || type === "number") field.type = "number";
  else field.type = "text";
  if (type === "number") field.step = "any";
  return field;
}
