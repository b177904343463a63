/** The parts of a browser that report events of the page and its network. */
const EVENTS = {
  offline: ["window", "offline"],
  online: ["window", "online"],
  pagehide: ["window", "pagehide", { persisted: true }],
  pageshow: ["window", "pageshow", { persisted: true }],
  visible: ["document", "visibilitychange"],
  hidden: ["document", "visibilitychange"],
  freeze: ["document", "freeze"],
  resume: ["document", "resume"],
  connection: ["connection", "change"],
};

export class Page {
  #window = new EventTarget();
  #document = new EventTarget();
  #connection = new EventTarget();
  #before = new Map();

  install() {
    this.#document.visibilityState = "visible";
    this.#define("addEventListener", this.#window.addEventListener.bind(this.#window));
    this.#define("removeEventListener", this.#window.removeEventListener.bind(this.#window));
    this.#define("document", this.#document);
    this.#define("navigator", { connection: this.#connection });
  }

  remove() {
    for (const [name, descriptor] of this.#before) {
      if (descriptor) Object.defineProperty(globalThis, name, descriptor);
      else delete globalThis[name];
    }
  }

  happens(name) {
    const [where, type, members] = EVENTS[name] ?? unknown(name);
    if (type === "visibilitychange") this.#document.visibilityState = name;
    const target = { window: this.#window, document: this.#document, connection: this.#connection }[where];
    target.dispatchEvent(Object.assign(new Event(type), members));
  }

  #define(name, value) {
    this.#before.set(name, Object.getOwnPropertyDescriptor(globalThis, name));
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
}

function unknown(name) {
  throw new Error(`a page has no event ${name}`);
}
