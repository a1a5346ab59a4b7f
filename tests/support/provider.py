"""An identity provider: OpenID Connect's discovery and keys over real HTTP, and tokens that it has signed."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.support.scripted import Scripted

AUDIENCE = "chat"
CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}


def private_key(algorithm: str, number: int = 0, bits: int = 2048) -> Any:
    """A key for this signature, always the same for the same number."""
    return _private_key(algorithm, number, bits)


@cache  # which takes a default and the same value for two
def _private_key(algorithm: str, number: int, bits: int) -> Any:
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm]())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, bits)


def public_jwk(algorithm: str, key: Any, key_id: str | None, **more: Any) -> dict[str, Any]:
    """The public half of a key, as a provider lists it."""
    jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    jwk.pop("key_ops", None)
    named = {} if key_id is None else {"kid": key_id}
    return {**jwk, "use": "sig", "alg": algorithm, **named, **more}


class Provider(Scripted):
    """Signs with the key `key-0` until it is told otherwise. `asked` lists the paths that were asked for."""

    def __init__(self, algorithm: str = "RS256") -> None:
        super().__init__()
        self.algorithm = algorithm
        self.keys = [self.listed(0)]
        self.asked: list[str] = []
        # What is answered in place of a document, by its path.
        self.replies: dict[str, Callable[[], Awaitable[web.Response]]] = {}
        self.router.add_get("/{path:.*}", self._answer)

    @property
    def issuer(self) -> str:
        """What its tokens have as `iss`."""
        return self.url

    def listed(self, number: int) -> dict[str, Any]:
        """The public key of this number, with its id."""
        return public_jwk(self.algorithm, private_key(self.algorithm, number), f"key-{number}")

    def claims(self, **changed: Any) -> dict[str, Any]:
        """What a good token says. A change to None takes a claim away."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 600}
        return {name: value for name, value in {**claims, **changed}.items() if value is not None}

    def sign(
        self, claims: dict[str, Any], number: int = 0, *, key: Any = None, algorithm: str = "", **header: Any
    ) -> str:
        """A token with the key of this number, or another; `header` is what its header has besides."""
        algorithm = algorithm or self.algorithm
        given = {"kid": f"key-{number}", **header}
        return jwt.encode(
            claims,
            key or private_key(algorithm, number),
            algorithm=algorithm,
            # PyJWT itself takes out a type that is None.
            headers={name: value for name, value in given.items() if value is not None or name == "typ"},
        )

    def sign_in(self, number: int = 0, **changed: Any) -> dict[str, str]:
        """A user's request headers."""
        return {"Authorization": f"Bearer {self.sign(self.claims(**changed), number)}"}

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if request.path in self.replies:
            return await self.replies[request.path]()
        documents: dict[str, dict[str, Any]] = {
            "/.well-known/openid-configuration": {"issuer": self.issuer, "jwks_uri": f"{self.url}/keys"},
            "/keys": {"keys": self.keys},
        }
        if request.path not in documents:
            raise web.HTTPNotFound
        return web.Response(text=json.dumps(documents[request.path]), content_type="application/json")
