// Makes the page's parts and connects them.

import { ChatClient } from "../client.js";
import { ModelMenu } from "./reader/model-menu.js";
import { passing } from "./reader/preferences.js";
import { openSettings, transport } from "./reader/settings.js";
import { Tokens } from "./reader/tokens.js";
import { Conversations } from "./sidebar/conversations.js";
import { Drawer } from "./sidebar/drawer.js";
import { Sidebar } from "./sidebar/sidebar.js";
import { Composer } from "./thread/composer.js";
import { Follow } from "./thread/follow.js";
import { Messages } from "./thread/messages.js";
import { confirmRemoval } from "./thread/removal.js";
import { Thread } from "./thread/thread.js";
import { watchConnection } from "./ui/banner.js";
import { copyText } from "./ui/copy.js";
import { closeDialogs } from "./ui/dialogs.js";
import { drawIcons, find, h } from "./ui/dom.js";
import { listenToKeys, openHelp } from "./ui/keys.js";
import { toast } from "./ui/toast.js";

drawIcons();

// The service is beside the page, below any path.
const baseUrl = new URL(".", document.baseURI).href;
const tokens = new Tokens(document.querySelector("meta[name=token-url]").content, baseUrl);
const chat = new ChatClient({ baseUrl, token: tokens.source, transport: transport() });

const conversations = new Conversations(chat);
const follow = new Follow(find("thread"), find("messages"), find("to-latest"));
const messages = new Messages(find("messages"), follow, {
  regenerate: (view) => (thread.regenerate(view), write()),
  goOn: (view) => (thread.goOn(view), write()),
  edit: (view, text) => thread.edit(view, text) && (write(), true),
  switchTo: (id, step) => thread.switchTo(id, step),
  remove: (view) => confirmRemoval(messages.below(view), () => (thread.takeBack(view.id), write())),
  orphan: (text) => {
    thread.giveBack(thread.id, text);
    toast("The message that you edited is no longer shown. Your text is in the message box.");
  },
  suggest: (text) => thread.send(text),
});
const thread = new Thread(chat, conversations, messages, follow, find("queue"));
const composer = new Composer(
  { form: find("composer"), field: find("prompt"), button: find("send"), later: find("send-later"), count: find("count") },
  { send: (text) => thread.send(text), stop: () => thread.stop() },
);
const drawer = new Drawer({
  sidebar: find("sidebar"),
  main: find("main"),
  backdrop: find("backdrop"),
  show: find("show-sidebar"),
  hide: find("hide-sidebar"),
});
const sidebar = new Sidebar(find("conversations"), find("search"), conversations, {
  open: navigate,
  rename: (id, title) => report(conversations.update(id, { title })),
  favourite: (id, is) => report(conversations.update(id, { is_favorited: is })),
  remove,
});
const models = new ModelMenu(find("model-button"), chat, (tag) => {
  if (thread.id !== null) navigate(null);
  thread.modelTag = tag;
  models.show(tag, true);
  composer.focus();
});

/** `#/` is a new conversation, `#/<id>` an existing one. */
const idInAddress = () => /^#\/([0-9a-f-]{36})$/i.exec(location.hash)?.[1] ?? null;

/** Open the conversation in the address, or a new one if the address names none. */
function openAddress() {
  const id = idInAddress();
  if (id === null && location.hash.length > 2) history.replaceState(null, "", "#/");
  closeDialogs();
  open(id);
}

function open(id) {
  thread.modelTag = "";
  composer.show(id);
  thread.open(id);
  sidebar.current = id;
  write();
}

/** Go to the message box. On a phone, this would open the keyboard. */
function write() {
  if (matchMedia("(hover: hover)").matches) composer.focus();
}

/** Open it at once: `hashchange` comes later, and a message sent before it would go to the old conversation. */
function navigate(id) {
  drawer.done();
  if (id !== null && id === thread.id) return;
  const address = `#/${id ?? ""}`;
  if (location.hash !== address) history.pushState(null, "", address);
  open(id);
}

function go(step) {
  const next = thread.id === null ? conversations.items[0] : sidebar.neighbour(thread.id, step);
  if (next) navigate(next.id);
}

let deletion = null;

function remove(id) {
  const next = sidebar.neighbour(id, 1) ?? sidebar.neighbour(id, -1);
  const title = conversations.get(id)?.title;
  const { undo, commit, seconds } = conversations.remove(id);
  const wasOpen = thread.id === id;
  if (wasOpen) navigate(null);
  else find("conversations").querySelector(`[data-id="${next?.id}"] a`)?.focus();
  const act = () => {
    undo();
    if (wasOpen) navigate(id);
  };
  deletion = toast(["“", h("bdi", { text: title }), "” was deleted."], { action: "Undo", act, gone: () => report(commit()), seconds });
}

async function report(doing) {
  try {
    await doing;
  } catch (error) {
    toast(error.message);
  }
}

function signIn() {
  conversations.load(); // this asks for a token again
  models.load();
  thread.open(thread.id);
}

function signOut() {
  passing.clear(); // the token, and drafts
  location.replace(baseUrl); // so nothing of the last reader stays in memory
}

// Marks that change the direction of the text after them. A window's title has no way to isolate them.
const DIRECTIONS = /[\u202a-\u202e\u2066-\u2069]/g;

function showState() {
  const conversation = conversations.get(thread.id);
  const title = thread.id === null ? "New chat" : (conversation?.title ?? "");
  find("title").textContent = title;
  document.title = thread.id === null ? "samosaChaat" : `${title.replace(DIRECTIONS, "")} · samosaChaat`;
  messages.lock(thread.isLocked);
  composer.become(thread.isStopping ? "stopping" : thread.isBusy ? "answering" : "ready");
  models.show(conversation?.model_tag ?? thread.modelTag, thread.id === null);
}

thread.addEventListener("change", showState);
conversations.addEventListener("change", showState);
thread.addEventListener("created", ({ detail: id }) => {
  history.replaceState(null, "", `#/${id}`); // no hashchange: the conversation is open already
  composer.adopt(id);
  sidebar.current = id;
});
thread.addEventListener("returned", ({ detail: { id, text } }) => {
  composer.takeBack(id, text);
  write();
});
addEventListener("hashchange", openAddress); // back, forward, or a typed address
chat.addEventListener("transport", ({ detail }) => {
  if (detail === "sse" && transport() === "ws") toast("WebSockets are blocked here. Server-sent events are used instead.");
});
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && (conversations.refresh(), models.refresh()));
addEventListener("online", () => conversations.refresh());
watchConnection(find("banner"), chat, signIn);

find("new-chat").addEventListener("click", () => navigate(null));
find("new-chat-small").addEventListener("click", () => navigate(null));
find("skip").addEventListener("click", () => composer.focus());
find("help-button").addEventListener("click", openHelp);
find("settings-button").addEventListener("click", () => openSettings(chat, tokens.isTyped ? signOut : null));
listenToKeys({
  newChat: () => navigate(null),
  search: () => (drawer.toggle(true), find("search").focus()),
  toggleSidebar: () => drawer.toggle(),
  previous: () => go(-1),
  next: () => go(1),
  write: () => composer.focus(),
  scrollUp: () => follow.page(-1),
  scrollDown: () => follow.page(1),
  copyAnswer: () => messages.lastAnswer && report(copyText(messages.lastAnswer.text).then(() => void toast("Copied."))),
  regenerate: () => thread.regenerate(),
  remove: () => thread.id !== null && remove(thread.id),
  undo: () => deletion?.act() ?? false,
  stop: () => (thread.isBusy ? void thread.stop() : false),
  help: openHelp,
});

openAddress(); // first: when the list changes, the message box is saved as the draft, so it must show the draft by then
conversations.load();
models.load();
