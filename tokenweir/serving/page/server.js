/** Access to the server of the page: its address, the API key, requests. */

import { ofWindow } from "./kept.js";

/** The server's address, even behind a proxy with a path of its own. */
export const ROOT = new URL("..", import.meta.url).href.replace(/\/$/, "");

let key = ofWindow.get("key") ?? "";

/** Use this API key from now on, in this window. */
export function useKey(given) {
  key = given;
  ofWindow.set("key", key);
}

export function hasKey() {
  return key !== "";
}

/** The headers of each request. */
export function headers() {
  return key ? { "x-api-key": key } : {};
}

/** Thrown if the server refuses a request; the message is for users. */
export class Refusal extends Error {
  constructor(message, status = null) {
    super(message);
    this.status = status;
  }
}

/** @returns {Promise<Response>} or throws Refusal */
export async function ask(path) {
  let response;
  try {
    response = await fetch(ROOT + path, { headers: headers() });
  } catch {
    throw new Refusal("The server cannot be reached.");
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new Refusal(told.detail ?? `The server answered ${response.status}.`, response.status);
}
