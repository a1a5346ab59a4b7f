// A page of a user's that shows a conversation and the list of all, with the hooks. Tests drive it by `view`.

import { ChatClient } from "@samosachaat/chat-client";
import { useConversation, useConversations } from "@samosachaat/chat-client/react";
import { StrictMode, useState, version } from "react";
import { createRoot } from "react-dom/client";

const asked = new URLSearchParams(location.search);
const chat = new ChatClient({
  baseUrl: asked.get("service"),
  token: asked.get("token"),
  transport: asked.get("transport"),
});
const tools = [{ type: "function", function: { name: "weather" } }];
const settings = asked.has("tools")
  ? { tools, onToolCalls: (calls) => calls.map(({ id }) => ({ tool_call_id: id, content: "rain" })) }
  : {};

window.chat = chat;
window.react = version;
window.renders = 0;
window.seen = []; // what the last message said, at each render

function Thread({ id, onCreated }) {
  const view = useConversation(chat, id, { ...settings, onCreated });
  window.view = view;
  window.renders += 1;
  window.seen.push(view.messages.at(-1)?.content);
  return (
    <main data-status={view.status} data-running={view.isRunning} data-connection={view.connection}>
      <h1>{view.conversation?.title}</h1>
      <ol>
        {view.messages.map((message) => (
          <li key={message.key} id={message.key} data-state={message.state}>
            {message.role}: {message.reasoning && `(${message.reasoning}) `}
            {message.content}
            {message.tool_calls.map(({ id, name, arguments: given }) => (
              <code key={id}>{` ${name}${given}`}</code>
            ))}
          </li>
        ))}
      </ol>
      <ul>
        {view.queued.map(({ id, content }) => (
          <li key={id}>{content}</li>
        ))}
      </ul>
      <p role="alert">{view.error?.code ?? view.error?.message}</p>
    </main>
  );
}

function List({ open }) {
  const list = useConversations(chat);
  window.list = list;
  return (
    <nav data-status={list.status}>
      {list.conversations.map(({ id, title }) => (
        <button key={id} onClick={() => open(id)}>
          {title}
        </button>
      ))}
    </nav>
  );
}

function App() {
  const [id, setId] = useState(location.hash.slice(1) || null);
  const [isShown, setShown] = useState(true);
  const open = (id) => {
    history.replaceState(null, "", `#${id ?? ""}`);
    setId(id);
  };
  window.open = open;
  window.setShown = setShown;
  return (
    <>
      <List open={open} />
      {isShown && <Thread id={id} onCreated={open} />}
    </>
  );
}

createRoot(document.getElementById("app")).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
