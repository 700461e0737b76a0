/** Stores JSON that survives a reload, per window or browser; does nothing if storage is off. */

const PREFIX = "tokenweir-";

/** @param {() => Storage} open Opens the storage; browsers without storage throw here. */
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
        // The storage is full, or the window is private: then nothing survives a reload.
      }
    },
  };
}

export const ofWindow = home(() => sessionStorage);
export const ofBrowser = home(() => localStorage);
