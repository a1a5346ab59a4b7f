"""The client in another site's page, and what it reports there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from playwright.async_api import Page

Event = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """An answer that the page is reading."""

    page: Page
    number: int

    async def events(self, count: int | None = None) -> list[Event]:
        """The events so far; waits for this many, or for the end.

        Without the `history` of the start event: the client tells an answer that it attaches to by the ids of
        `generation`, which has none.
        """
        enough = "true" if count is None else f"seen.events.length >= {count}"
        wait = "false" if count is not None else "true"
        await self.page.wait_for_function(
            f"(number) => {{ const seen = record.answers[number];"
            f" return seen.ended || ({enough} && !{wait}); }}",
            arg=self.number,
            polling=20,
        )
        events: list[Event] = await self._get("seen.events")
        return [{key: value for key, value in event.items() if key != "history"} for event in events]

    async def text(self) -> str:
        """The text, as a page would show it."""
        text: str = await self._get("seen.answer.text")
        return text

    async def words(self) -> list[Any]:
        """The thinking and the tool calls."""
        words: list[Any] = await self._get("[seen.answer.reasoning, seen.answer.toolCalls]")
        return words

    async def error(self) -> dict[str, Any] | None:
        """The ChatError with which it ended; waits for the end."""
        await self.events()
        error: dict[str, Any] | None = await self._get("seen.error")
        return error

    async def done(self) -> Event | None:
        """What `done` resolves to."""
        done: Event | None = await self._get("seen.answer.done")
        return done

    async def last_event_id(self) -> str:
        """The id that a page would keep across a reload."""
        last: str = await self._get("seen.answer.lastEventId")
        return last

    async def leave(self) -> None:
        """Stop reading."""
        await self._get("seen.answer.leave()")

    async def _get(self, what: str) -> Any:
        return await self.page.evaluate(
            f"(number) => {{ const seen = record.answers[number]; return {what}; }}", self.number
        )


class Embedded:
    """A page of another site, with a client in it."""

    def __init__(self, page: Page, base_url: str, token: str) -> None:
        self.page = page
        self.base_url = base_url
        self.token = token

    async def begin(self, transport: str = "sse", **options: Any) -> None:
        """Load the client; call this again after a reload."""
        await self.page.evaluate("import('/harness.js')")
        given = {"baseUrl": self.base_url, "token": self.token, "transport": transport, **options}
        await self.page.evaluate("(given) => begin(given)", given)

    async def conversation(self) -> str:
        """Create a conversation, and return its id."""
        made: str = await self.page.evaluate("chat.conversations.create().then(({ id }) => id)")
        return made

    async def get(self, conversation: str) -> dict[str, Any]:
        """A conversation with its messages."""
        got: dict[str, Any] = await self.page.evaluate("(id) => chat.conversations.get(id)", conversation)
        return got

    async def messages(self, conversation: str) -> list[tuple[str, str]]:
        """The roles and texts of a conversation's messages."""
        return [(each["role"], each["content"]) for each in (await self.get(conversation))["messages"]]

    async def send(self, conversation: str, content: str = "Hi", **options: Any) -> Seen:
        """Send a message."""
        return await self.read("send", conversation, content, options)

    async def read(self, method: str, *arguments: Any) -> Seen:
        """Read the answer that a method of the client returns."""
        number = await self.page.evaluate(
            "([method, given]) => read(chat[method](...given))", [method, list(arguments)]
        )
        return Seen(self.page, number)

    async def follow(self, conversation: str) -> None:
        """Follow a conversation."""
        await self.page.evaluate("(id) => stay(id)", conversation)

    async def followed(self, number: int = 0) -> Seen:
        """The next answer that begins elsewhere."""
        await self.page.wait_for_function("(n) => record.followed.length > n", arg=number, polling=20)
        return Seen(self.page, await self.page.evaluate("(n) => record.followed[n]", number))

    async def call(self, expression: str) -> Any:
        """Evaluate an expression with `chat`: its result, or its ChatError as a dict."""
        return await self.page.evaluate(
            f"(async () => {expression})().catch(({{ name, code, status, message, detail, retryAfter }}) =>"
            " ({ name, code, status, message, detail, retryAfter }))"
        )

    async def record(self, what: str) -> list[Any]:
        """The client's reports of a kind: statuses, transports, expired."""
        reports: list[Any] = await self.page.evaluate("(what) => record[what]", what)
        return reports

    async def reported(self, what: str, value: Any) -> None:
        """Wait until the client has reported this."""
        await self.page.wait_for_function(
            "([what, value]) => record[what].includes(value)", arg=[what, value], polling=20
        )
