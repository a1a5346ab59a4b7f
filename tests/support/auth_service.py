"""A scripted auth service: docs/contract.md section 4 over real HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from aiohttp import web

from tests.support.scripted import Scripted


class AuthService(Scripted):
    """Knows the tokens that `sign_in` made. `calls` lists the tokens that it was asked about.

    `replies` maps tokens to other responses: a status and a body.
    """

    internal_key = "internal-key-of-the-tests"

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.traceparents: list[str | None] = []
        self.replies: dict[str, tuple[int, Any]] = {}
        self._users: dict[str, dict[str, Any]] = {}
        self.router.add_post("/auth/validate", self._validate)

    def sign_in(
        self,
        user_id: UUID | None = None,
        *,
        is_admin: bool | None = None,
        exp: float | None = None,
        **more: Any,
    ) -> dict[str, str]:
        """A user's request headers. `more` is what the auth service says of the user besides."""
        user: dict[str, Any] = {"id": str(user_id or uuid4()), "email": "u@example.com", "name": "U", **more}
        if is_admin is not None:
            user["is_admin"] = is_admin
        token = f"token-{uuid4().hex}"
        claims = {"sub": user["id"]} if exp is None else {"sub": user["id"], "exp": exp}
        self._users[token] = {"valid": True, "user": user, "claims": claims}
        return {"Authorization": f"Bearer {token}"}

    def answer(self, token: str) -> dict[str, Any]:
        """The response for a valid token, for `replies`."""
        return self._users[token]

    async def _validate(self, request: web.Request) -> web.Response:
        if request.headers.get("X-Internal-API-Key") != self.internal_key:
            return web.json_response({"detail": "wrong internal key"}, status=403)
        token = (await request.json())["token"]
        self.calls.append(token)
        self.traceparents.append(request.headers.get("traceparent"))
        if token in self.replies:
            status, body = self.replies[token]
            return web.json_response(body, status=status)
        if token in self._users:
            return web.json_response(self._users[token])
        return web.json_response({"valid": False, "reason": "unknown token"}, status=401)
