"""The clients: they ask, lose connections, come back by their last id, and check what they see."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp
import orjson

from tests.chaos.neighbours import answer

RETRY_SECONDS = 0.3


@dataclass
class Transcript:
    """What a client saw of one answer."""

    question: str
    key: str = field(default_factory=lambda: uuid4().hex)
    text: str = ""
    last_id: str | None = None
    seq: int = -1
    done: dict[str, Any] | None = None
    was_reset: bool = False


@dataclass
class Client:
    """One user with one conversation; `wrong` counts what must not be, `seen` what may."""

    session: aiohttp.ClientSession
    workers: list[str]
    wrong: Counter[str]
    seen: Counter[str]
    chance: random.Random
    user: str = field(default_factory=lambda: str(uuid4()))
    conversation: str = ""
    transcripts: list[Transcript] = field(default_factory=list)

    async def run(self, until: float, tokens: int) -> None:
        """Ask one thing after another until the loop's clock says so."""
        loop = asyncio.get_running_loop()
        created = await self._insist("POST", "/api/conversations", expect=201)
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
                    if stream.status == 200:
                        await self._follow(stream, transcript)
                    elif stream.status == 204:
                        self.wrong["streams without an end"] += 1
                        return
                    else:
                        self.seen[f"status {stream.status}"] += 1
                        await asyncio.sleep(RETRY_SECONDS)
            except (aiohttp.ClientError, TimeoutError, OSError):
                self.seen["connection lost"] += 1
                await asyncio.sleep(RETRY_SECONDS * self.chance.random())

    async def _follow(self, stream: aiohttp.ClientResponse, transcript: Transcript) -> None:
        leave_after = self.chance.randint(5, 400)  # Wi-Fi isn't what it was
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
        if "reset" in data:
            self.seen["reset"] += 1
            transcript.text, transcript.was_reset = data["content"], True
            if seq <= transcript.seq:
                self.wrong["doubled events"] += 1
        elif seq <= transcript.seq:
            self.wrong["doubled events"] += 1
        elif seq != transcript.seq + 1:
            self.wrong["missing events"] += 1
        transcript.seq, transcript.last_id = seq, event_id
        transcript.text += data.get("token", "")
        if "done" in data:
            transcript.done = data
            self.seen[f"done: {data['finish_reason']}"] += 1

    async def _check(self, transcript: Transcript) -> None:
        """What `done` promised is there, whatever was killed since."""
        if transcript.done is None or transcript.done["message_id"] is None:
            return
        conversation = await self._insist("GET", self.conversation)
        stored = {message["id"]: message for message in conversation["messages"]}
        message = stored.get(transcript.done["message_id"])
        expected = "".join(answer(transcript.question))
        if message is None:
            self.wrong["done without a stored answer"] += 1
        elif not expected.startswith(message["content"]):
            self.wrong["stored answers that nobody gave"] += 1
        elif message["finish_reason"] == "stop" and message["content"] != expected:
            self.wrong["stored answers cut short"] += 1
        elif message["content"] != transcript.text:
            # A reader can have seen what its worker hadn't written down when it was killed.
            if message["finish_reason"] == "interrupted" and transcript.text.startswith(message["content"]):
                self.seen["saw more than was kept"] += 1
            else:
                self.wrong["stored answers other than seen"] += 1

    async def verify(self) -> None:
        """At the end: every question is stored, and once."""
        conversation = await self._insist("GET", self.conversation)
        asked = Counter(
            message["content"] for message in conversation["messages"] if message["role"] == "user"
        )
        for transcript in self.transcripts:
            stored = asked.pop(transcript.question, 0)
            if transcript.last_id is not None and not stored:
                self.wrong["lost messages"] += 1
            if stored > 1:
                self.wrong["doubled messages"] += 1
        self.wrong["messages that nobody sent"] += len(asked)
        if conversation["generation"] is not None:
            self.wrong["generations still running"] += 1

    async def _insist(self, method: str, path: str, expect: int = 200) -> Any:
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
