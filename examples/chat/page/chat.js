// The chat page. One WebSocket to /chat/{room} at a time, JSON text messages both ways;
// another room is another connection. Read from the top: state, connection, the server's
// messages, the screen, the forms. Whatever another person typed is shown by `textContent`
// alone, so that it can never become markup.
"use strict";

const $ = (id) => document.getElementById(id);

// ---------------------------------------------------------------- state

const RATE_LIMIT_PAUSE_MS = 5_000, NOTICE_SHOWN_MS = 6_000;
const BACKOFF_FIRST_MS = 1_000, BACKOFF_MAX_MS = 30_000;
const TYPING_EVERY_MS = 2_000, TYPING_SHOWN_MS = 3_500;

const state = {
  name: "", token: "",                            // as typed when signing in
  me: null,                                       // my name, once the server has welcomed me
  status: "connecting",                           // then "connected" or "reconnecting"
  room: "general",                                // the room that the connection belongs to
  person: null,                                   // whose conversation is open; null: the room's
  rooms: new Set(["general", "random", "help"]),
  people: new Set(),                              // who is in the room
  said: [],                                       // the room's messages and events
  direct: new Map(),                              // person → messages exchanged with them
  unread: new Map(),                              // "#room" or "@person" → how many
  typing: new Map(),                              // person → timer that ends the indication
};

const roomKey = (room) => "#" + room, personKey = (person) => "@" + person;
const openKey = () => (state.person ? personKey(state.person) : roomKey(state.room));

// ----------------------------------------------------------- connection

let socket = null;      // the current one; events of any earlier socket are ignored
let failures = 0;       // attempts in a row that did not end in a welcome
let retryTimer = null;

function connect() {
  hangUp();
  if (state.status === "reconnecting") $("countdown").textContent = "Trying…";
  else setStatus("connecting");
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const url = `${scheme}://${location.host}/chat/${encodeURIComponent(state.room)}`
    + `?name=${encodeURIComponent(state.name)}`;
  // A browser cannot set headers on a WebSocket: the token goes as a subprotocol.
  const ws = socket = new WebSocket(url, ["bearer", state.token]);
  ws.onmessage = ({ data }) => { if (ws === socket) receive(JSON.parse(data)); };
  ws.onclose = ({ code, reason }) => { if (ws === socket) closed(code, reason); };
}

function hangUp() {
  clearInterval(retryTimer);
  socket?.close(1000);
  socket = null;
}

function send(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

/** What a closed connection means: 1008 is a refusal, all else is worth another try. */
function closed(code, reason) {
  hangUp();
  const tooFast = code === 1008 && reason === "Rate limit exceeded";
  if (!state.me) showSignIn(reason || "The server cannot be reached.");
  else if (tooFast) retryIn(RATE_LIMIT_PAUSE_MS, "Rate limit exceeded: that was too fast.");
  else if (code === 1008) showSignIn(reason || "The server refused.");
  else if (code === 1012) retryIn(backoff(), "The server is restarting.");
  else retryIn(backoff(), "Connection lost.");
}

/** Exponential back-off with full jitter: a thousand pages do not come back in the same moment. */
function backoff() {
  return Math.random() * Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** failures++);
}

function retryIn(ms, why) {
  const due = Date.now() + ms;
  const tick = () => {
    const left = Math.ceil((due - Date.now()) / 1000);
    if (left <= 0) return connect();
    $("countdown").textContent = `Trying again in ${left} s…`;
  };
  setStatus("reconnecting");
  showNotice(why, { retry: true });
  retryTimer = setInterval(tick, 250);
  tick();
}

// ------------------------------------------------- the server's messages

function receive(message) {
  switch (message.type) {
    case "welcome": return onWelcome(message);
    case "joined":
    case "left": return onPresence(message.name, message.type);
    case "said": return onSaid(message);
    case "direct": return onDirect(message);
    case "typing": return setTyping(message.from, true);
    case "notice": return showNotice(message.text);
  }
}

function onWelcome({ you, room, people, history: said }) {
  failures = 0;
  Object.assign(state, { me: you, room, people: new Set([...people, you]), said });
  state.rooms.add(room);
  for (const name of state.typing.keys()) setTyping(name, false);
  setStatus("connected");
  history.replaceState(null, "", "#" + encodeURIComponent(room));
  const arriving = $("chat-screen").hidden;
  $("sign-in-screen").hidden = $("notice").hidden = true;
  $("chat-screen").hidden = false;
  showConversation();
  if (arriving) $("message").focus();
}

function onPresence(name, what) {
  if (what === "joined") state.people.add(name);
  else state.people.delete(name);
  setTyping(name, false);
  add(state.said, { event: `${name} ${what}` }, roomKey(state.room));
  showLists();
}

function onSaid(message) {
  setTyping(message.from, false);
  add(state.said, message, roomKey(state.room));
}

/** Direct messages come back to their sender too, so that all tabs of a person agree. */
function onDirect(message) {
  const other = message.from === state.me ? message.to : message.from;
  if (!state.direct.has(other)) state.direct.set(other, []);
  add(state.direct.get(other), message, personKey(other));
}

/** Keeps a message, then shows it if its conversation is open, and counts it if nobody looks. */
function add(list, message, key) {
  list.push(message);
  if (key === openKey()) showMessage(message, list.at(-2));
  const looking = key === openKey() && !document.hidden;
  if (message.event || message.from === state.me || looking) return;
  state.unread.set(key, (state.unread.get(key) ?? 0) + 1);
  showLists();
}

// ------------------------------------------------------------ the screen

/** An element with properties and children; strings become text nodes, never markup. */
function element(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function showSignIn(error = "") {
  hangUp();
  failures = 0;
  state.me = state.person = null;
  state.direct.clear();
  state.unread.clear();
  document.title = "Nexios chat";
  $("chat-screen").hidden = $("notice").hidden = true;
  $("sign-in-screen").hidden = $("sign-in").disabled = false;
  $("sign-in-error").textContent = error;
  $(error && $("name").value ? "token" : "name").focus();
}

/** The open conversation, whole: after signing in, and when another one is chosen. */
function showConversation() {
  const { person, room } = state;
  const list = person ? state.direct.get(person) ?? [] : state.said;
  $("title").textContent = person ?? "# " + room;
  $("title").classList.toggle("person", person !== null);
  $("message").placeholder = person ? `Message ${person}, only you two see it` : `Message # ${room}`;
  $("messages").replaceChildren();
  list.forEach((message, i) => showMessage(message, list[i - 1]));
  $("log").scrollTop = 0; // the end: the log is laid out from the bottom
  state.unread.delete(openKey());
  showLists();
  showTyping();
}

function showMessage(message, previous) {
  const follows = message.from && message.from === previous?.from && message.at - previous.at < 300_000;
  const item = message.event ? element("li", { className: "event" }, message.event) : messageItem(message, follows);
  $("messages").append(item);
  if (message.from === state.me) $("log").scrollTop = 0;
}

function messageItem({ type, from, text, at }, follows) {
  const when = new Date(at);
  const clock = when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const author = element("span", { className: "author" }, from);
  const time = element("time", { dateTime: when.toISOString(), title: when.toLocaleString() }, clock);
  const head = element("p", { className: "head" }, author, time);
  const body = element("p", { className: "body", dir: "auto" }, text);
  const item = element("li", { className: "message" }, avatar(from), head, body);
  item.classList.toggle("direct", type === "direct");
  item.classList.toggle("mine", from === state.me);
  item.classList.toggle("follows", follows);
  return item;
}

/** A coloured circle; its initial is drawn by the style sheet, so it is no part of the text. */
function avatar(name) {
  const node = element("span", { className: "avatar", ariaHidden: "true" });
  node.dataset.initial = [...name][0].toUpperCase();
  const hash = [...name].reduce((sum, char) => (sum * 31 + char.codePointAt(0)) % 360, 7);
  node.style.setProperty("--hue", hash);
  return node;
}

function showLists() {
  const alphabetical = (names) => [...names].sort((a, b) => a.localeCompare(b));
  const elsewhere = [...state.direct.keys()].filter((name) => !state.people.has(name));
  const others = alphabetical(state.people).filter((name) => name !== state.me);

  const focused = document.activeElement?.closest("li[data-key]")?.dataset.key;
  $("rooms").replaceChildren(...[...state.rooms].map(roomItem));
  $("people").replaceChildren(...[state.me, ...others].map(personItem));
  $("elsewhere").replaceChildren(...alphabetical(elsewhere).map(personItem));
  $("elsewhere-section").hidden = elsewhere.length === 0;
  if (focused) document.querySelector(`[data-key="${CSS.escape(focused)}"] button`)?.focus();

  const here = others.length ? `You and ${others.length} more` : "Only you are here";
  $("subtitle").textContent = state.person ? "Direct messages" : here;
  const unread = [...state.unread.values()].reduce((sum, n) => sum + n, 0);
  document.title = (unread ? `(${unread}) ` : "") + $("title").textContent + " · Nexios chat";
}

const roomItem = (room) => listItem({ key: roomKey(room), room }, () => enterRoom(room), "# " + room);

function personItem(person) {
  const you = element("small", {}, person === state.me ? "(you)" : "");
  const item = listItem({ key: personKey(person), person }, () => openPerson(person), avatar(person), person, you);
  item.firstChild.disabled = person === state.me;
  return item;
}

function listItem(data, onclick, ...content) {
  const badge = element("span", { className: "badge", title: "unread" }, state.unread.get(data.key) ?? "");
  const ariaCurrent = data.key === openKey() ? "true" : null;
  const button = element("button", { onclick, ariaCurrent }, ...content, badge);
  const item = element("li", {}, button);
  Object.assign(item.dataset, data);
  return item;
}

/** Every sign of typing ends by itself, in case the person has gone. */
function setTyping(name, on) {
  clearTimeout(state.typing.get(name));
  state.typing.delete(name);
  if (on && name !== state.me) state.typing.set(name, setTimeout(setTyping, TYPING_SHOWN_MS, name, false));
  showTyping();
}

function showTyping() {
  const names = state.person ? [] : [...state.typing.keys()];
  const words = ["", `${names[0]} is typing`, `${names.join(" and ")} are typing`];
  $("typing").textContent = words[names.length] ?? "Several people are typing";
}

function setStatus(status) {
  state.status = $("status").dataset.status = status;
  const words = { connected: "Connected", connecting: "Connecting…", reconnecting: "Reconnecting…" };
  $("status").textContent = words[status];
  $("send").disabled = status !== "connected";
}

let noticeTimer;

/** A notice goes away by itself, unless it tells of a connection that is still to come back. */
function showNotice(text, { retry = false } = {}) {
  clearTimeout(noticeTimer);
  $("notice").hidden = false;
  $("notice-text").textContent = text;
  $("countdown").textContent = "";
  $("retry").hidden = !retry;
  if (!retry) noticeTimer = setTimeout(() => { $("notice").hidden = true; }, NOTICE_SHOWN_MS);
}

// ------------------------------------------------------------- the forms

function enterRoom(room) {
  if (room !== state.room) {
    Object.assign(state, { room, said: [], people: new Set([state.me]) });
    state.rooms.add(room);
    connect();
  }
  openPerson(null);
}

function openPerson(person) {
  state.person = person;
  showConversation();
  $("message").focus();
}

$("sign-in-form").onsubmit = (event) => {
  event.preventDefault();
  state.name = $("name").value.trim();
  state.token = $("token").value;
  $("sign-in-error").textContent = "";
  $("sign-in").disabled = true;
  try {
    connect();
  } catch {
    showSignIn("A token has no spaces and no special characters.");
  }
};

$("composer").onsubmit = (event) => {
  event.preventDefault();
  const text = $("message").value.trim();
  if (!text || state.status !== "connected") return; // the text stays until it can be sent
  send(state.person ? { type: "direct", to: state.person, text } : { type: "say", text });
  $("message").value = "";
  lastTyping = 0;
};

let lastTyping = 0;
$("message").oninput = () => {
  if (state.person || Date.now() - lastTyping < TYPING_EVERY_MS) return;
  lastTyping = Date.now();
  send({ type: "typing" });
};

$("new-room-form").onsubmit = (event) => {
  event.preventDefault();
  const room = $("new-room").value.toLowerCase().match(/[\p{L}\p{N}]+/gu)?.join("-");
  $("new-room").value = "";
  if (room) enterRoom(room);
};

$("retry").onclick = connect;
$("sign-out").onclick = () => showSignIn();
window.ononline = () => { if (state.me && !socket) connect(); };
document.onvisibilitychange = () => { if (!document.hidden && state.unread.delete(openKey())) showLists(); };
document.onkeydown = (event) => { if (event.key === "Escape" && state.person) enterRoom(state.room); };

$("theme").onclick = () => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  root.dataset.theme = localStorage.theme = (root.dataset.theme ?? system) === "dark" ? "light" : "dark";
};
if (localStorage.theme) document.documentElement.dataset.theme = localStorage.theme;
if (location.hash.length > 1) state.room = decodeURIComponent(location.hash.slice(1));
