"""What is in the tarball, and what its types promise."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

import pytest

import chat_api
from tests.browser.packages.application import Application, tool
from tools.npm_package import semver

NAME = "@samosachaat/chat-client"


def held(tarball: Path) -> dict[str, str]:
    """The tarball's files by their names."""
    with tarfile.open(tarball) as archive:
        files = {member.name: archive.extractfile(member) for member in archive.getmembers()}
        return {name.removeprefix("package/"): file.read().decode() for name, file in files.items() if file}


def test_tarball_holds_the_served_client_and_what_is_added_and_nothing_else(
    tarball: Path, checkout: Path
) -> None:
    files = held(tarball)
    web, added = checkout / "chat_api" / "web", checkout / "packages" / "client"
    client = {path.relative_to(web).as_posix(): path for path in web.glob("client/*")}
    client |= {name: web / name for name in ("client.js", "client.d.ts")}
    more = {path.relative_to(added).as_posix(): path for path in added.rglob("*") if path.is_file()}
    wanted = {"LICENSE": checkout / "LICENSE", **client, **more}
    del wanted["package.json"]
    assert files.keys() == wanted.keys() | {"package.json"}
    assert {name: path.read_text() for name, path in wanted.items()} == {name: files[name] for name in wanted}


def test_version_is_the_services_and_every_door_has_its_types(tarball: Path) -> None:
    files = held(tarball)
    described = json.loads(files["package.json"])
    assert (described["name"], described["version"]) == (NAME, semver(chat_api.__version__))
    assert tarball.name == f"samosachaat-chat-client-{described['version']}.tgz"
    for door in described["exports"].values():
        for path in [door] if isinstance(door, str) else door.values():
            assert path.removeprefix("./") in files


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.1.0", "0.1.0"),
        ("1.2.3rc4", "1.2.3-rc.4"),
        ("1.0.0a1", "1.0.0-alpha.1"),
        ("1.0.0b2", "1.0.0-beta.2"),
    ],
)
def test_version_of_a_prerelease_is_in_npms_form(version: str, expected: str) -> None:
    assert semver(version) == expected


def test_version_that_npm_has_no_form_for_is_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("1.0.dev3")):
        semver("1.0.dev3")


# What a page and a program write, and what the compiler must refuse.
CLIENT = """
import { Answer, ChatClient, ChatError, type AnswerEvent } from "@samosachaat/chat-client";
import { WebSocket as Given } from "ws-like";

const token = async ({ expired }: { expired: boolean }) => (expired ? "new" : "old");
const chat = new ChatClient({ baseUrl: "/", token, WebSocket: Given });
chat.addEventListener("status", ({ detail }) => detail === "offline");
export async function ask(id: string): Promise<string> {
  const options = { parentId: null, when_running: "queue", onToolCalls: () => null } as const;
  const answer: Answer = chat.send(id, "Hi", options);
  for await (const event of answer as AsyncIterable<AnswerEvent>) {
    if (event.type === "token") event.token.trim();
    if (event.type === "reset") event.tool_calls?.map(({ id }) => id);
    if (event.type === "done") event.usage?.prompt_tokens?.toFixed();
  }
  const { messages } = await chat.conversations.get(id);
  const stopped: boolean = (await chat.stop(id, { queue: "clear" })).stopped;
  try {
    await chat.regenerate(id, { messageId: messages[0]?.siblings?.ids[0] ?? "" }).done;
  } catch (error) {
    if (error instanceof ChatError) return `${error.code} ${error.retryAfter ?? 0} ${stopped}`;
  }
  return answer.text;
}
// @ts-expect-error
chat.transport = "pigeon";
// @ts-expect-error
chat.send("id");
// @ts-expect-error
new Answer("id");
"""
REACT = """
import { useConversation, useConversations, type ShownMessage } from "@samosachaat/chat-client/react";
import type { ChatClient } from "@samosachaat/chat-client";

export function usePage(chat: ChatClient, id: string | null): string[] {
  const create = { model_tag: "m" };
  const view = useConversation(chat, id, { onCreated: (id) => id.trim(), temperature: 0.5, create });
  const { conversations, hasMore } = useConversations(chat);
  const taken: Promise<boolean> = view.send("Hi", { thinking_mode: true });
  void taken.then((was) => was || view.discard(view.messages[0]?.key ?? "")?.trim());
  void view.update({ title: "Tea", version: view.conversation?.version ?? 1 });
  // @ts-expect-error
  void view.edit(null, "Hi");
  // @ts-expect-error
  void view.send("Hi", { idempotencyKey: "the hook has its own" });
  const write = ({ state, tool_calls }: ShownMessage) => `${state === "writing"} ${tool_calls.length}`;
  return [`${hasMore}`, ...view.messages.map(write), ...conversations.map(({ title }) => title)];
}
"""
AI_SDK = """
import { Chat, useChat } from "@ai-sdk/react";
import type { ChatClient } from "@samosachaat/chat-client";
import {
  ConversationTransport, shownParts, toUIMessages, type ConversationMessage,
} from "@samosachaat/chat-client/ai-sdk";

export async function open(chat: ChatClient, id: string) {
  const onError = (error: unknown) => String(error);
  const transport = new ConversationTransport(chat, { tools: [], temperature: 0.5, onError });
  const messages: ConversationMessage[] = await transport.load(id);
  const same = toUIMessages(await chat.conversations.get(id));
  return new Chat({ id, messages: [...messages, ...same], transport });
}
export function usePage(opened: Chat<ConversationMessage>): string[] {
  const { messages, sendMessage, stop } = useChat({ chat: opened, resume: true });
  void sendMessage({ text: "Hi" }, { body: { thinking_mode: true } }).then(stop);
  const isStopped = ({ metadata }: ConversationMessage) => metadata?.finishReason === "stopped";
  return messages.map((message) => `${shownParts(message).length} ${isStopped(message)}`);
}
export const inHook = (chat: ChatClient) => useChat({ id: "c", transport: new ConversationTransport(chat) });
// @ts-expect-error
new ConversationTransport({}, { onToolCalls: () => null });
"""
LIKE_WS = 'declare module "ws-like" { export class WebSocket { constructor(address: string | URL); } }'
SETTINGS = {
    "strict": True,
    "noEmit": True,
    "target": "es2022",
    "exactOptionalPropertyTypes": True,
    "noUncheckedIndexedAccess": True,
    "skipLibCheck": False,
}
PLACES = {
    "page": {"module": "esnext", "moduleResolution": "bundler", "lib": ["es2023", "dom"], "types": []},
    "node": {"module": "nodenext", "moduleResolution": "nodenext", "lib": ["es2023"], "types": ["node"]},
}


async def compiles(application: Application, place: str, name: str, text: str, **more: object) -> None:
    """Check that a TypeScript file has the types that it claims, in a page or in Node."""
    application.write(f"types/{place}/{name}", text)
    application.write(f"types/{place}/like-ws.d.ts", LIKE_WS)
    options = {**SETTINGS, **PLACES[place], **more}
    settings = application.write(
        f"types/{place}/{name}.json",
        json.dumps({"compilerOptions": options, "files": [name, "like-ws.d.ts"]}),
    )
    _, printed, _ = await application.outcome(*tool("tsc"), "--project", settings)
    errors = [line for line in printed.splitlines() if "error TS" in line]
    # The AI SDK's own types don't hold.
    assert [line for line in errors if not line.startswith("../../node_modules/")] == []


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("name", "text"), [("client.ts", CLIENT), ("react.ts", REACT)])
async def test_types_say_what_it_takes_and_gives(
    application: Application, place: str, name: str, text: str
) -> None:
    await compiles(application, place, name, text)


@pytest.mark.parametrize("place", PLACES)
async def test_types_of_the_transport_are_those_that_the_ai_sdk_takes(
    application: Application, place: str
) -> None:
    lib = ["es2023", "dom", "dom.iterable"]
    await compiles(application, place, "ai-sdk.ts", AI_SDK, lib=lib)
