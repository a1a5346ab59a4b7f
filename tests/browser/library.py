"""What a search finds, an export holds and an import reports, answered in the service's place by a script of the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import BrowserContext, Page, Route

Hit = dict[str, Any]
JSON = "application/json"


def hit(conversation: dict[str, Any], message_id: str | None, snippet: str) -> Hit:
    """A hit in a conversation, as the list of conversations has it."""
    at = conversation["updated_at"]
    return {"conversation": conversation, "message_id": message_id, "snippet": snippet, "created_at": at}


def answer(items: Sequence[Hit] = (), next_cursor: str | None = None) -> tuple[int, dict[str, Any]]:
    """A page of hits."""
    return 200, {"items": list(items), "next_cursor": next_cursor}


def refusal(status: int, code: str, detail: str) -> tuple[int, dict[str, Any]]:
    """An error of the service."""
    return status, {"code": code, "detail": detail}


@dataclass
class Search:
    """Answers a page's searches: by `answers`, or by `otherwise` for what isn't there; `asked` are their parameters."""

    answers: dict[tuple[str, str | None], tuple[int, dict[str, Any]]] = field(default_factory=dict)
    otherwise: tuple[int, dict[str, Any]] = field(default_factory=answer)
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    async def begin(self, pages: BrowserContext | Page) -> None:
        """Answer from now on."""
        await pages.route("**/api/search?*", self._answer)

    async def _answer(self, route: Route) -> None:
        query = parse_qs(urlsplit(route.request.url).query)
        asked = (query["q"][0], query.get("cursor", [None])[0])
        self.asked.append(asked)
        if asked[0] in self.held:
            await self.held[asked[0]].wait()
        status, body = self.answers.get(asked, self.otherwise)
        await route.fulfill(status=status, body=json.dumps(body), content_type=JSON, headers=self.headers)


async def conversations_of(page: Page) -> dict[str, dict[str, Any]]:
    """The reader's conversations by their titles, as the list has them."""
    listed = await page.evaluate(
        """async () => {
            const headers = { Authorization: `Bearer ${sessionStorage["chat.token"]}` };
            return (await (await fetch("api/conversations?limit=200", { headers })).json()).items;
        }"""
    )
    return {each["title"]: each for each in listed}


