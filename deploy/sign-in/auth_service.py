"""An auth service in one file: what AUTH=service asks, and the simplest way to get a token.

Its users are in USERS, as "name:password" separated by spaces: put your own table in their place. Tokens are
kept in memory, so this is one process, and a restart signs everybody out. It needs aiohttp.

    INTERNAL_API_KEY=… USERS="asha:secret" python3 auth_service.py
"""

import hmac
import os
import secrets
import time
import uuid

from aiohttp import web

KEY = os.environ["INTERNAL_API_KEY"]  # the service has the same
USERS = dict(each.split(":", 1) for each in os.environ.get("USERS", "").split())
HOURS = 12
SITE = uuid.uuid5(uuid.NAMESPACE_URL, "https://chat.example")  # yours, so that ids are no other site's

routes = web.RouteTableDef()
tokens: dict[str, tuple[str, float]] = {}  # token → name, expiry in Unix seconds


@routes.post("/login")
async def login(request: web.Request) -> web.Response:
    """{"name": …, "password": …} → {"token": …}; or else 401."""
    asked = await request.json()
    name, password = str(asked.get("name")), str(asked.get("password"))
    if name not in USERS or not hmac.compare_digest(password.encode(), USERS[name].encode()):
        return web.json_response({"detail": "Wrong name or password."}, status=401)
    token = secrets.token_urlsafe(32)
    tokens[token] = name, time.time() + 3600 * HOURS
    return web.json_response({"token": token})


@routes.post("/auth/validate")
async def validate(request: web.Request) -> web.Response:
    """What the chat asks of each new token. Only the chat may ask: it sends the shared key."""
    if not hmac.compare_digest(request.headers.get("X-Internal-API-Key", "").encode(), KEY.encode()):
        return web.json_response({"detail": "wrong X-Internal-API-Key"}, status=403)
    name, expires_at = tokens.get(str((await request.json()).get("token")), ("", 0.0))
    if expires_at <= time.time():
        return web.json_response({"valid": False, "reason": "unknown or expired"}, status=401)
    user = {"id": str(uuid.uuid5(SITE, name)), "name": name, "is_admin": name == "admin"}
    return web.json_response({"valid": True, "user": user, "claims": {"sub": user["id"], "exp": expires_at}})


if __name__ == "__main__":
    app = web.Application()
    app.add_routes(routes)
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8001")))
