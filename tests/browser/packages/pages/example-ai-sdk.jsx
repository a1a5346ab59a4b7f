// A page around docs/packages.md's example.

import { createRoot } from "react-dom/client";
import { Conversation, chat, open } from "./docs/ai-sdk.jsx";

location.hash ||= (await chat.conversations.create()).id;
const opened = await open(location.hash.slice(1));
createRoot(document.getElementById("app")).render(<Conversation opened={opened} />);
