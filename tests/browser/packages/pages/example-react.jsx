// A page around docs/packages.md's example.

import { useState } from "react";
import { createRoot } from "react-dom/client";
import { Conversation } from "./docs/react.jsx";

function Page() {
  const [id, setId] = useState(location.hash.slice(1) || null);
  const open = (id) => {
    location.hash = id;
    setId(id);
  };
  return <Conversation id={id} onCreated={open} />;
}

createRoot(document.getElementById("app")).render(<Page />);
