"""The clients: they ask, lose connections, come back by their last id, and check what they see."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any
from uuid import uuid4

import aiohttp
import orjson

RETRY_SECONDS = 0.3


def beyond(seen: str, kept: str) -> int:
    """How many tokens of a text go beyond what another one has of it. Each ends with a space."""
    tokens = seen.split()
    return len(tokens) - len(
        list(takewhile(lambda pair: pair[0] == pair[1], zip(tokens, kept.split(), strict=False)))
    )


@dataclass
class Transcript:
    """What a client saw of one answer.

    `text`: as its page shows it, `longest`: the most that it ever showed. `story`: what happened to it, for
    whoever looks for the reason of a loss. Times are the loop's.
    """

    question: str
    key: str = field(default_factory=lambda: uuid4().hex)
    text: str = ""
    longest: str = ""
    story: list[str] = field(default_factory=list)
    last_id: str | None = None
    seq: int = -1
    began: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    ended: float = 0.0
    done: dict[str, Any] | None = None

    def tell(self, what: str) -> None:
        """Add to the story."""
        self.story.append(f"{asyncio.get_running_loop().time() - self.began:.1f} s: {what}")


@dataclass
class Client:
    """One user with one conversation. `wrong` counts what must not happen, `seen` what may."""

    session: aiohttp.ClientSession
    workers: list[str]
    wrong: Counter[str]
    seen: Counter[str]
    chance: random.Random
    user: str = field(default_factory=lambda: str(uuid4()))
    conversation: str = ""
    transcripts: list[Transcript] = field(default_factory=list)

    async def run(self, until: float, tokens: int) -> None:
        """Ask one question after another, until the loop's clock reaches a time."""
        loop = asyncio.get_running_loop()
        created = await self.insist("POST", "/api/conversations", expect=201)
        self.conversation = f"/api/conversations/{created['id']}"
        while loop.time() < until:
            word = uuid4().hex[:8]
            transcript = Transcript(f"{word} {self.chance.randint(tokens // 2, tokens)}")
            self.transcripts.append(transcript)
            await self._exchange(transcript)
            await self._check(transcript)

    async def _exchange(self, transcript: Transcript) -> None:
        while transcript.done is None:
            try:
                if transcript.last_id is None:
                    response = self._request(
                        "POST",
                        f"{self.conversation}/messages",
                        json={"content": transcript.question},
                        headers={"Idempotency-Key": transcript.key},
                    )
                else:
                    self.seen["re-attached"] += 1
                    response = self._request(
                        "GET", f"{self.conversation}/stream", headers={"Last-Event-ID": transcript.last_id}
                    )
                async with response as stream:
                    transcript.tell(f"status {stream.status} of {stream.url.port} after {transcript.seq}")
                    if stream.status == 200:
                        await self._follow(stream, transcript)
                    elif stream.status == 204:
                        self.wrong["streams without an end"] += 1
                        return
                    else:
                        self.seen[f"status {stream.status}"] += 1
                        await asyncio.sleep(RETRY_SECONDS)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                transcript.tell(f"{type(error).__name__} after {transcript.seq}")
                self.seen["connection lost"] += 1
                await asyncio.sleep(RETRY_SECONDS * self.chance.random())

    async def _follow(self, stream: aiohttp.ClientResponse, transcript: Transcript) -> None:
        leave_after = self.chance.randint(5, 400)  # as on bad Wi-Fi
        event_id = ""
        async for line in stream.content:
            if line.startswith(b"id: "):
                event_id = line[4:].strip().decode()
            elif line.startswith(b"data: "):
                self._see(transcript, event_id, orjson.loads(line[6:]))
                leave_after -= 1
                if transcript.done is not None or leave_after == 0:
                    stream.close()
                    return

    def _see(self, transcript: Transcript, event_id: str, data: dict[str, Any]) -> None:
        seq = int(event_id.rpartition(":")[2])
        if "token" not in data:
            transcript.tell(f"{seq} {sorted(data)} after {transcript.seq}")
        if "reset" in data:
            self._reset(transcript, data["content"])
            if seq <= transcript.seq:
                self.wrong["duplicated events"] += 1
        elif seq <= transcript.seq:
            self.wrong["duplicated events"] += 1
        elif seq != transcript.seq + 1:
            self.wrong["missing events"] += 1
        transcript.seq, transcript.last_id = seq, event_id
        transcript.text += data.get("token", "")
        transcript.longest = max(transcript.longest, transcript.text, key=len)
        if "done" in data:
            transcript.done, transcript.ended = data, asyncio.get_running_loop().time()
            self.seen[f"done: {data['finish_reason']}"] += 1

    def _reset(self, transcript: Transcript, content: str) -> None:
        self.seen["reset"] += 1
        self.seen["tokens taken back"] += beyond(transcript.text, content)
        transcript.text = content

    async def _check(self, transcript: Transcript) -> None:
        """Check that what `done` promised is stored already."""
        if transcript.done is None or transcript.done["message_id"] is None:
            return
        conversation = await self.insist("GET", self.conversation)
        if all(message["id"] != transcript.done["message_id"] for message in conversation["messages"]):
            self.wrong["done without a stored answer"] += 1

    async def insist(self, method: str, path: str, expect: int = 200) -> Any:
        """Send a request until it succeeds, and return its JSON."""
        while True:
            try:
                async with self._request(method, path) as response:
                    if response.status == expect:
                        return await response.json()
                    self.seen[f"status {response.status}"] += 1
            except (aiohttp.ClientError, TimeoutError, OSError):
                self.seen["connection lost"] += 1
            await asyncio.sleep(RETRY_SECONDS)

    def _request(self, method: str, path: str, headers: dict[str, str] | None = None, **options: Any) -> Any:
        return self.session.request(
            method,
            self.chance.choice(self.workers) + path,
            headers={"Authorization": f"Bearer {self.user}", **(headers or {})},
            timeout=aiohttp.ClientTimeout(sock_connect=5, sock_read=40),
            **options,
        )
