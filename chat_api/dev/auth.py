"""The development auth service: signs in one user, and behaves as docs/contract.md section 4 describes."""

import hmac
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import jwt
from aiohttp import web

from chat_api.dev.errors import DevError

TOKEN_SECONDS = 7 * 24 * 3600
_ALGORITHM = "HS256"
_REQUIRED = ["sub", "exp"]
_FILE = "auth.json"


class DevAuth:
    """An auth service with one user. `data_dir` keeps the signing secret and the user's id.

    Tokens therefore stay valid across restarts. Callers must send `internal_api_key`.
    """

    def __init__(self, data_dir: Path, internal_api_key: str) -> None:
        self._internal_api_key = internal_api_key
        self._secret, user_id = _kept(data_dir / _FILE)
        self._user = {
            "id": str(user_id),
            "email": "dev@localhost",
            "name": "Developer",
            "is_admin": True,
        }
        self._runner: web.AppRunner | None = None

    @property
    def user_id(self) -> str:
        """The user's id."""
        return str(self._user["id"])

    def token(self, now: float | None = None) -> str:
        """Make a token of the development user that is valid for seven days."""
        issued = int(time.time() if now is None else now)
        claims = {
            "sub": self._user["id"],
            "email": self._user["email"],
            "iat": issued,
            "exp": issued + TOKEN_SECONDS,
        }
        return jwt.encode(claims, self._secret, _ALGORITHM)

    async def start(self) -> str:
        """Listen on a free port of 127.0.0.1 and return the base URL."""
        application = web.Application()
        application.router.add_post("/auth/validate", self._validate)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def stop(self) -> None:
        """Stop the service. Does nothing if it isn't running."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _validate(self, request: web.Request) -> web.Response:
        given = request.headers.get("X-Internal-API-Key", "")
        if not hmac.compare_digest(given.encode(), self._internal_api_key.encode()):
            return web.json_response({"detail": "wrong X-Internal-API-Key"}, status=403)
        try:
            token = (await request.json())["token"]
            claims: dict[str, Any] = jwt.decode(
                token, self._secret, algorithms=[_ALGORITHM], options={"require": _REQUIRED}
            )
        except (ValueError, KeyError, TypeError):
            return web.json_response({"detail": 'the body must be {"token": "…"}'}, status=422)
        except jwt.ExpiredSignatureError:
            return _refused("expired")
        except jwt.PyJWTError:
            return _refused("invalid")
        if claims["sub"] != self._user["id"]:
            return _refused("unknown user")
        return web.json_response({"valid": True, "user": self._user, "claims": claims})


def _refused(reason: str) -> web.Response:
    return web.json_response({"valid": False, "reason": reason}, status=401)


def _kept(path: Path) -> tuple[str, UUID]:
    """Read the secret and the user's id from `path`. The first start creates the file, with mode 0600."""
    try:
        kept = json.loads(path.read_text())
        return str(kept["secret"]), UUID(kept["user_id"])
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DevError(f"{path} is damaged: delete it, or start over with --reset") from None
    secret, user_id = secrets.token_hex(32), uuid4()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)  # an existing file would keep its mode
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({"secret": secret, "user_id": str(user_id)}, file)
    unfinished.replace(path)  # complete or absent, however the first start ended
    return secret, user_id
