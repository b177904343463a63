import { framed, unframed } from "../server.js";

/** One connection of the client, as the scenario's server sees it. */
class Connection {
  isOpen = true;

  constructor(network, socket, url, offers) {
    Object.assign(this, { network, socket, url, offers, at: network.clock.now });
  }

  accept(protocol) {
    this.isAccepted = true;
    this.socket.protocol = protocol;
    this.socket.onopen?.({});
  }

  /** Refuses the handshake in the way of the package `ws`, the only one that gives the status to the client. */
  refuse(statusCode, headers = {}) {
    this.isOpen = false;
    const listeners = this.socket.listeners["unexpected-response"] ?? [];
    const lower = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), `${value}`]));
    listeners.forEach((listener) => listener({ destroy() {} }, { statusCode, headers: lower }));
  }

  say(header, payload) {
    this.sayRaw(framed(header, payload));
  }

  sayRaw(message) {
    this.socket.onmessage?.({ data: typeof message === "string" ? message : new Uint8Array(message).buffer });
  }

  close(code, reason = "") {
    this.isOpen = false;
    this.socket.onclose?.({ code, reason });
  }

  fail(message) {
    this.socket.onerror?.({ message });
    this.close(1006);
  }
}

/** The network of a scenario: what the client dials, sends and closes. */
export class Network {
  dials = [];
  frames = [];
  closes = [];

  constructor(clock) {
    const network = (this.network = this);
    this.clock = clock;
    this.WebSocket = class {
      bufferedAmount = 0;
      protocol = "";
      listeners = {};

      constructor(url, offers) {
        if (!URL.canParse(url)) throw new SyntaxError(`no address: ${url}`);
        if (!offers.every((offer) => /^[\w!#$%&'*+.^`|~-]+$/.test(offer))) throw new SyntaxError(`no subprotocols: ${offers}`);
        network.newest = this.connection = new Connection(network, this, url, offers);
        network.dials.push(this.connection);
      }

      on(event, listener) {
        (this.listeners[event] ??= []).push(listener);
      }

      send(message) {
        if (!this.connection.isOpen) throw new Error("the client sends on a connection that has ended");
        network.frames.push(unframed(message));
      }

      close(code = null, reason = "") {
        if (![null, 1000].includes(code) && !(code >= 3000 && code <= 4999)) throw new RangeError(`no code for a browser: ${code}`);
        if (this.connection.isOpen && this.connection.isAccepted) network.closes.push({ code, reason });
        this.connection.isOpen = false;
      }

      terminate() {
        this.close();
      }
    };
  }
}
