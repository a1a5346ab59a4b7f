"""What the auth service may answer, over real HTTP: only what was agreed, and not without end."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web

from chat_api.settings import Settings
from tests.conftest import Client, Start
from tests.support.auth_service import AuthService
from tests.support.scripted import Scripted

LIST = "/api/conversations"
USER = {"id": str(uuid4())}
GOOD = json.dumps({"valid": True, "user": USER}).encode()
Pieces = Callable[[], AsyncIterator[bytes]]
NOT_TRUE = ["true", "yes", "1", "on", 1, 1.0, [True], {"true": True}]


class Talker(Scripted):
    """An auth service that answers with a head and a body, then with pieces as long as the client stays."""

    def __init__(self, head: dict[str, str], body: bytes, more: Pieces, status: int) -> None:
        super().__init__()
        self.left = asyncio.Event()
        self.sent_bytes = 0
        self._head, self._body, self._more, self._status = head, body, more, status
        self.router.add_post("/auth/validate", self._talk)

    async def _talk(self, request: web.Request) -> web.StreamResponse:
        self.asked_for = request.headers["Accept-Encoding"]
        response = web.StreamResponse(status=self._status, headers=self._head)
        try:
            await response.prepare(request)
            await response.write(self._body)
            self.sent_bytes += len(self._body)
            async for piece in self._more():
                await response.write(piece)
                self.sent_bytes += len(piece)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        return response


def good() -> bytes:
    return GOOD


def bomb() -> bytes:
    """A good answer that is 64 MB of blanks, and 64 KB on the wire."""
    return gzip.compress(b" " * 2**26 + GOOD)


def small_gzip() -> bytes:
    return gzip.compress(GOOD)


async def nothing() -> AsyncIterator[bytes]:
    for piece in ():
        yield piece


async def flood() -> AsyncIterator[bytes]:
    """Blanks without end."""
    while True:
        yield b" " * 65536


async def drip() -> AsyncIterator[bytes]:
    """An answer that never ends, and isn't large either."""
    while True:
        await asyncio.sleep(0.05)
        yield b" "


@pytest.mark.parametrize("given", NOT_TRUE)
async def test_only_true_makes_an_administrator(client: Client, auth: AuthService, given: Any) -> None:
    auth.replies["t"] = (200, {"valid": True, "user": {**USER, "is_admin": given}})
    response = await client.post(
        "/api/models/swap", json={"model_tag": "m2"}, headers={"Authorization": "Bearer t"}
    )
    assert (response.status, (await response.json())["code"]) == (502, "auth_broken")


ADMIN = "Admin@Chat.example"


def administrator(**user: Any) -> dict[str, Any]:
    return {"valid": True, "user": {**USER, **user}}


@pytest.mark.parametrize(
    ("setting", "answer", "is_admin"),
    [
        (ADMIN, administrator(email=ADMIN), True),
        (ADMIN, administrator(email=" aDMIN@chat.EXAMPLE\n"), True),
        (f" {ADMIN} ", administrator(email=ADMIN, is_admin=False), True),
        (ADMIN, administrator(email=ADMIN, email_verified=True), True),
        (ADMIN, administrator(email=ADMIN) | {"claims": {"email_verified": True}}, True),
        ("", administrator(email=ADMIN, is_admin=True), True),
        ("", administrator(email=""), False),
        ("", administrator(email=" "), False),
        ("", administrator(), False),
        (ADMIN, administrator(), False),
        (ADMIN, administrator(email=None), False),
        (ADMIN, administrator(email=""), False),
        (ADMIN, administrator(email=[ADMIN]), False),
        (ADMIN, administrator(email={"address": ADMIN}), False),
        (ADMIN, administrator(email=f"x{ADMIN}"), False),
        (ADMIN, administrator(email=f"{ADMIN},x@y.example"), False),
        (ADMIN, administrator(email=f"{ADMIN}\0"), False),
        (ADMIN, administrator(name=ADMIN), False),
        (ADMIN, administrator(email=ADMIN, email_verified=False), False),
        (ADMIN, administrator(email=ADMIN, email_verified=None), False),
        (ADMIN, administrator(email=ADMIN, email_verified="true"), False),
        (ADMIN, administrator(email=ADMIN) | {"claims": {"email_verified": False}}, False),
        # Of another domain, but equal when Unicode folds its letters: the Kelvin sign, a sharp s.
        ("admin@kite.example", administrator(email="admin@\u212aite.example"), False),
        ("admin@gross.example", administrator(email="admin@gro\u00df.example"), False),
    ],
)
async def test_the_administrators_address_is_that_address_and_no_other(
    start: Start,
    settings: Settings,
    auth: AuthService,
    setting: str,
    answer: dict[str, Any],
    *,
    is_admin: bool,
) -> None:
    named = Settings(_env_file=None, admin_email=setting).admin_email
    client = await start(settings.model_copy(update={"admin_email": named}))
    auth.replies["t"] = (200, answer)
    response = await client.get("/api/admin/users", headers={"Authorization": "Bearer t"})
    assert response.status == (501 if is_admin else 403)


@pytest.mark.parametrize("given", NOT_TRUE)
async def test_only_true_signs_in(client: Client, auth: AuthService, given: Any) -> None:
    auth.replies["t"] = (200, {"valid": given, "user": USER})
    response = await client.get(LIST, headers={"Authorization": "Bearer t"})
    assert (response.status, (await response.json())["code"]) == (502, "auth_broken")


@pytest.mark.parametrize("given", [True, "9999999999", "soon", [1]])
async def test_only_a_number_says_when_a_token_ends(client: Client, auth: AuthService, given: Any) -> None:
    auth.replies["t"] = (200, {"valid": True, "user": USER, "claims": {"exp": given}})
    response = await client.get(LIST, headers={"Authorization": "Bearer t"})
    assert (response.status, (await response.json())["code"]) == (502, "auth_broken")


# Only a drip has to be waited for. The others have time on the busiest machine, and are refused at once.
@pytest.mark.parametrize(
    ("body", "more", "head", "status", "auth_timeout", "answer"),
    [
        (good, flood, {}, 200, 20.0, (502, "auth_broken")),
        (good, flood, {}, 401, 20.0, (502, "auth_broken")),
        (bomb, nothing, {"Content-Encoding": "gzip"}, 200, 20.0, (502, "auth_broken")),
        (small_gzip, nothing, {"Content-Encoding": "gzip"}, 200, 20.0, (502, "auth_broken")),
        (good, drip, {}, 200, 0.5, (503, "auth_unavailable")),
    ],
)
async def test_an_answer_without_measure_is_not_taken(
    start: Start,
    settings: Settings,
    body: Callable[[], bytes],
    more: Pieces,
    head: dict[str, str],
    status: int,
    auth_timeout: float,
    answer: tuple[int, str],
) -> None:
    # The body is made first: packing 64 MB takes long on a busy machine, and would use up the service's time.
    async with Talker(head, body(), more, status) as talker:
        client = await start(
            settings.model_copy(update={"auth_service_url": talker.url, "auth_timeout": auth_timeout})
        )
        async with asyncio.timeout(30):
            response = await client.get(LIST, headers={"Authorization": "Bearer t"})
            assert (response.status, (await response.json())["code"]) == answer
            if more in (flood, drip):
                await talker.left.wait()
        assert talker.asked_for == "identity"
        assert talker.sent_bytes < 16_000_000  # what the buffers of two systems hold
