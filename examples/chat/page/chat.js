// The chat page. One client to /chat/{room} at a time, which comes back by itself and goes on where
// it was; another room is another client. Read from the top: state, connection, what happens in the
// room, the screen, the forms. Whatever another person typed is shown by `textContent` alone, so
// that it can never become markup.
import { connect } from "./nexios.js";

const $ = (id) => document.getElementById(id);

// ---------------------------------------------------------------- state

const RATE_LIMIT_PAUSE_MS = 5_000, NOTICE_SHOWN_MS = 6_000;
const SAY_AGAIN_MS = 1_000, SAY_AGAIN_MAX_MS = 300_000; // the room knows what was said so long
const TYPING_EVERY_MS = 2_000, TYPING_SHOWN_MS = 3_500;

const state = {
  name: "", token: "",                            // as typed when signing in
  me: null,                                       // my name, once the server has let me in
  status: "connecting",                           // then "connected", "reconnecting" or "away"
  room: "general",                                // the room that the connection belongs to
  person: null,                                   // whose conversation is open; null: the room's
  rooms: new Set(["general", "random", "help"]),
  people: new Set(),                              // who is in the room
  said: [],                                       // the room's messages and events
  newest: null,                                   // number of the newest of them; null: not loaded
  direct: new Map(),                              // person → messages exchanged with them
  unread: new Map(),                              // "#room" or "@person" → how many
  typing: new Map(),                              // person → timer that ends the indication
};

const roomKey = (room) => "#" + room, personKey = (person) => "@" + person;
const openKey = () => (state.person ? personKey(state.person) : roomKey(state.room));

// ----------------------------------------------------------- connection

// `?ports=8002,8003` names other nodes of the same chat, on this host: if one is gone, the next.
const ports = (new URLSearchParams(location.search).get("ports") ?? "").match(/\d+/g) ?? [];
const scheme = location.protocol === "https:" ? "wss" : "ws";
const nodes = [location.host, ...ports.map((port) => `${location.hostname}:${port}`)];

let client = null;      // the current one; what is told by any earlier one is ignored
let retryTimer = null;

function open() {
  hangUp();
  setStatus(state.status === "reconnecting" ? "reconnecting" : "connecting");
  Object.assign(state, { said: [], newest: null });
  const path = `/chat/${encodeURIComponent(state.room)}?name=${encodeURIComponent(state.name)}`;
  const urls = nodes.map((node) => `${scheme}://${node}${path}`);
  // A browser cannot set headers on a WebSocket: the token goes as a subprotocol.
  const mine = client = connect(urls, { protocols: ["bearer", state.token], json: true });
  const on = (emitter, handlers) => {
    for (const [event, handle] of Object.entries(handlers)) {
      emitter.on(event, (...values) => (mine === client ? handle(...values) : undefined));
    }
  };
  on(mine, { message: onMessage, close: onClose, reconnecting: ({ delay }) => countDown(delay) });
  on(mine.room(`talk/${state.room}`), { joined: onJoined, reset: reload, message: onSaid });
  on(mine.room(`news/${state.room}`), { message: onNews, presence: onPresence });
}

function hangUp() {
  clearInterval(retryTimer);
  const last = client;
  client = null;
  last?.close();
}

/** What the end of a connection means: 1008 is a refusal, most others are worth another try. */
function onClose({ code, reason, retry }) {
  if (!state.me) showSignIn((!retry && reason) || "The server cannot be reached.");
  else if (code === 1008 && reason === "Rate limit exceeded") pauseAfterFlood();
  else if (!retry) showSignIn(reason || "The server refused.");
  else if (state.status === "connected") {
    setStatus("reconnecting");
    showNotice(code === 1012 ? "The server is restarting." : "Connection lost.", { retry: "Try now" });
  }
}

/** The client would come back by itself, and say again what was too much. */
function pauseAfterFlood() {
  hangUp();
  setStatus("reconnecting");
  showNotice("Rate limit exceeded: that was too fast.", { retry: "Try now" });
  countDown(RATE_LIMIT_PAUSE_MS, open);
}

function countDown(ms, then) {
  const due = Date.now() + ms;
  const tick = () => {
    const left = Math.ceil((due - Date.now()) / 1000);
    $("countdown").textContent = left > 0 ? `Trying again in ${left} s…` : "Trying…";
    if (left > 0) return;
    clearInterval(retryTimer);
    then?.();
  };
  clearInterval(retryTimer);
  retryTimer = setInterval(tick, 250);
  tick();
}

function pullCable() {
  setStatus("away");
  showNotice("You pulled the cable. Let somebody write meanwhile.", { retry: "Plug in" });
  client.drop({ away: true });
}

function comeBack() {
  if (client?.state !== "reconnecting") return open(); // after a flood there is none
  if (state.status === "away") setStatus("reconnecting");
  client.reconnect();
}

// ------------------------------------------------ what happens in the room

/** The connection is in the room. What is handled here is done before the next message comes. */
async function onJoined({ recovered }) {
  const mine = client;
  const isBack = state.newest !== null;
  try {
    const people = isBack ? null : await mine.room(`news/${state.room}`).presence();
    if (people && mine === client) state.people = new Set(people.map(({ user }) => user));
    if (!recovered || !isBack) await reload();
  } catch {
    return; // the connection is lost once more: there is another `joined` to come
  }
  if (mine !== client) return;
  if (isBack && recovered) add(state.said, { event: "You were away. Nothing is missing:" }, roomKey(state.room));
  showRoom();
  if (isBack && !recovered) showNotice("The room no longer has what you missed: it was loaded again.");
}

/** The room's history, in place of what is here. */
async function reload() {
  const mine = client;
  const said = await mine.request("history");
  if (mine !== client) return;
  Object.assign(state, { said, newest: said.at(-1)?.offset ?? 0 });
  if (state.me) showConversation();
}

function showRoom() {
  clearInterval(retryTimer);
  state.me = state.name;
  state.people.add(state.me);
  state.rooms.add(state.room);
  for (const name of state.typing.keys()) setTyping(name, false);
  setStatus("connected");
  history.replaceState(null, "", "#" + encodeURIComponent(state.room));
  const arriving = $("chat-screen").hidden;
  $("sign-in-screen").hidden = $("notice").hidden = true;
  $("chat-screen").hidden = false;
  showConversation();
  if (arriving) $("message").focus();
}

function onSaid(message, { offset }) {
  if (offset <= state.newest) return; // it came with what was loaded
  if (state.newest !== null) state.newest = offset;
  setTyping(message.from, false);
  add(state.said, message, roomKey(state.room));
}

/** Who comes and goes; all who are here, when the connection is back. */
function onPresence({ event, user, users }) {
  if (event === "state") state.people = new Set([...users.map(({ user }) => user), state.me]);
  else if ((event === "join") === state.people.has(user)) return;
  else {
    event === "join" ? state.people.add(user) : state.people.delete(user);
    setTyping(user, false);
    add(state.said, { event: `${user} ${event === "join" ? "joined" : "left"}` }, roomKey(state.room));
  }
  showLists();
}

function onNews({ type, from }) {
  if (type === "typing") setTyping(from, true);
}

/** What is for this person alone, or for everybody in all rooms. */
function onMessage(message) {
  if (message.type === "direct") onDirect(message);
  if (message.type === "notice") showNotice(message.text);
}

/** Until there is an answer, with one key: whatever gets lost on the way, it is said once. */
async function say(text) {
  const mine = client;
  const key = [...crypto.getRandomValues(new Uint32Array(2))].join("-");
  const until = Date.now() + SAY_AGAIN_MAX_MS;
  while (mine === client && Date.now() < until) {
    try {
      return await mine.request("say", { text, key });
    } catch ({ code, message }) {
      if (code === "closed") return;
      if (!["disconnected", "timeout", "unavailable", "busy"].includes(code)) return showNotice(message);
    }
    await new Promise((resolve) => setTimeout(resolve, SAY_AGAIN_MS));
  }
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
  state.me = state.person = null;
  state.status = "connecting";
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
  const node = nodes.length > 1 && client ? `On :${new URL(client.url).port}` : "Connected";
  const words = {
    connected: node, connecting: "Connecting…", reconnecting: "Reconnecting…", away: "Cable pulled",
  };
  $("status").textContent = words[status];
  $("send").disabled = status !== "connected";
  $("cable").ariaPressed = status === "away";
  $("cable-text").textContent = status === "away" ? "Plug in" : "Pull the cable";
  $("cable").disabled = status !== "connected" && status !== "away";
}

let noticeTimer;

/** A notice goes away by itself, unless it tells of a connection that is still to come back. */
function showNotice(text, { retry = "" } = {}) {
  clearTimeout(noticeTimer);
  $("notice").hidden = false;
  $("notice-text").textContent = text;
  $("countdown").textContent = "";
  $("retry").hidden = !retry;
  $("retry").textContent = retry;
  if (!retry) noticeTimer = setTimeout(() => { $("notice").hidden = true; }, NOTICE_SHOWN_MS);
}

// ------------------------------------------------------------- the forms

function enterRoom(room) {
  if (room !== state.room) {
    Object.assign(state, { room, people: new Set([state.me]) });
    state.rooms.add(room);
    state.status = "connecting";
    open();
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
    open();
  } catch {
    showSignIn("A token has no spaces and no special characters.");
  }
};

$("composer").onsubmit = (event) => {
  event.preventDefault();
  const text = $("message").value.trim();
  if (!text || state.status !== "connected") return; // the text stays until it can be sent
  if (state.person) client.send({ type: "direct", to: state.person, text });
  else say(text);
  $("message").value = "";
  lastTyping = 0;
};

let lastTyping = 0;
$("message").oninput = () => {
  if (state.person || Date.now() - lastTyping < TYPING_EVERY_MS) return;
  lastTyping = Date.now();
  client?.send({ type: "typing" });
};

$("new-room-form").onsubmit = (event) => {
  event.preventDefault();
  const room = $("new-room").value.toLowerCase().match(/[\p{L}\p{N}]+/gu)?.join("-");
  $("new-room").value = "";
  if (room) enterRoom(room);
};

$("retry").onclick = comeBack;
$("cable").onclick = () => (state.status === "away" ? comeBack() : pullCable());
$("sign-out").onclick = () => showSignIn();
document.onvisibilitychange = () => { if (!document.hidden && state.unread.delete(openKey())) showLists(); };
document.onkeydown = (event) => { if (event.key === "Escape" && state.person) enterRoom(state.room); };

$("theme").onclick = () => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  root.dataset.theme = localStorage.theme = (root.dataset.theme ?? system) === "dark" ? "light" : "dark";
};
if (localStorage.theme) document.documentElement.dataset.theme = localStorage.theme;
if (location.hash.length > 1) state.room = decodeURIComponent(location.hash.slice(1));
