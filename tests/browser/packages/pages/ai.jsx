// A page of a user's that chats by the AI SDK's useChat. Tests drive it by `view`.

import { Chat, useChat } from "@ai-sdk/react";
import { ChatClient } from "@samosachaat/chat-client";
import { ConversationTransport, shownParts } from "@samosachaat/chat-client/ai-sdk";
import { lastAssistantMessageIsCompleteWithToolCalls } from "ai";
import { StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

const asked = new URLSearchParams(location.search);
const chat = new ChatClient({
  baseUrl: asked.get("service"),
  token: asked.get("token"),
  transport: asked.get("transport"),
});
const tools = [{ type: "function", function: { name: "weather" } }];
const transport = new ConversationTransport(chat, asked.has("tools") ? { tools } : {});
const id = location.hash.slice(1) || (await chat.conversations.create()).id;
history.replaceState(null, "", `#${id}`);
const initial = await transport.load(id);

// A chat of the page's own: useChat stops those that it makes when it is unmounted.
const conversation = new Chat({
  id,
  messages: initial,
  transport,
  sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithToolCalls,
  onToolCall: ({ toolCall: { toolName: tool, toolCallId } }) => {
    if (asked.has("tools")) void conversation.addToolOutput({ tool, toolCallId, output: "rain" });
  },
});

window.chat = chat;

function Thread() {
  const view = useChat({ chat: conversation, resume: true });
  useEffect(() => {
    window.view = view;
  });
  return (
    <main data-status={view.status}>
      <ol>
        {view.messages.map((message) => (
          <li key={message.id}>
            {`${message.role}:`}
            {shownParts(message).map((part, at) => (
              <span key={at}>{shown(part)}</span>
            ))}
          </li>
        ))}
      </ol>
      <p role="alert">{view.error && `${view.error.code} ${view.error.message}`}</p>
    </main>
  );
}

function shown({ type, text, state, input, output }) {
  if (type === "text") return ` ${text}`;
  if (type === "reasoning") return ` (${text})`;
  if (type.startsWith("tool-")) return ` ${type} ${state} ${JSON.stringify(input)} ${output ?? ""}`.trimEnd();
  return "";
}

function App() {
  const [isShown, setShown] = useState(true);
  window.setShown = setShown;
  return isShown && <Thread />;
}

createRoot(document.getElementById("app")).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
