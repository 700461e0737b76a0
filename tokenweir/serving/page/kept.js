/** What outlives a reload, as JSON, of a window or of the browser; nothing where none may be kept. */

const PREFIX = "tokenweir-";

/** @param {() => Storage} open Browsers that may keep nothing throw as soon as storage is named. */
function home(open) {
  return {
    get(name) {
      try {
        return JSON.parse(open().getItem(PREFIX + name) ?? "null");
      } catch {
        return null;
      }
    },
    set(name, value) {
      try {
        open().setItem(PREFIX + name, JSON.stringify(value));
      } catch {
        // Full, or a private window: then it is gone after a reload.
      }
    },
  };
}

export const ofWindow = home(() => sessionStorage);
export const ofBrowser = home(() => localStorage);
