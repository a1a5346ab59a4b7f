"""Signed tokens (RFC 7519, RFC 8725): their form, their signature, and what they say. Asks nobody."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt

from chat_api.access.principal import Principal, is_subject, same_address, user_id_of

if TYPE_CHECKING:
    from chat_api.settings import Settings

# Three parts, and none is empty: an unsigned token has no signature.
_FORM = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+", re.ASCII)
# What may sign in: ID tokens and access tokens (RFC 9068). A provider signs other things too: logouts.
_TYPES = (None, "jwt", "at+jwt", "application/at+jwt")
_VERIFIER = jwt.PyJWS()
_OPTIONS: Any = {"enforce_minimum_key_length": True}
MAX_KEY_ID_CHARACTERS = 200
MAX_TIME = 1e12  # in seconds; beyond it, and in infinity, a clock has gone wrong


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A token that has the right form, and whose signature nobody has checked yet."""

    text: str
    algorithm: str
    key_id: str | None
    claims: dict[str, Any]

    @classmethod
    def parse(cls, text: str) -> SignedToken | None:
        """Read a token. None: it is none, or it asks for something that this service doesn't do.

        Keys and addresses of keys in its header (`jwk`, `jku`, `x5u`, `x5c`) are ignored: a forger
        writes them too.
        """
        form = _FORM.fullmatch(text)
        if form is None:
            return None
        header, claims = _read(form[1]), _read(form[2])
        if header is None or claims is None or "crit" in header or "b64" in header:
            return None
        kind, algorithm, key_id = header.get("typ"), header.get("alg"), header.get("kid")
        if isinstance(kind, str):
            kind = kind.lower()
        if kind not in _TYPES or not isinstance(algorithm, str):
            return None
        if key_id is not None and not (isinstance(key_id, str) and len(key_id) <= MAX_KEY_ID_CHARACTERS):
            return None
        return cls(text, algorithm, key_id, claims)

    def is_signed_by(self, keys: Iterable[jwt.PyJWK]) -> bool:
        """Whether one of the keys has signed it. A key is bound to its algorithm, whatever the token says."""
        return any(_verify(self.text, key) for key in keys)


def _verify(text: str, key: jwt.PyJWK) -> bool:
    try:
        _VERIFIER.decode_complete(text, key=key, algorithms=[key.algorithm_name], options=_OPTIONS)
    except jwt.PyJWTError:
        return False
    return True


def principal_of(claims: dict[str, Any], settings: Settings, now: float) -> Principal | None:
    """What a token says, if its signature is good; None: it isn't for this service, or not for now.

    `now` is Unix time.
    """
    leeway = settings.auth_leeway
    expires_at, subject = _time(claims, "exp"), claims.get(settings.auth_id_claim)
    if claims.get("iss") != settings.auth_issuer or not is_subject(subject):
        return None
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if not settings.audiences & {each for each in audiences if isinstance(each, str)}:
        return None
    if expires_at is None or expires_at + leeway <= now:
        return None
    for name in claims.keys() & {"nbf", "iat"}:
        begins_at = _time(claims, name)
        if begins_at is None or begins_at > now + leeway:
            return None
    email = claims.get(settings.auth_email_claim)
    is_admins = (
        isinstance(email, str)
        and claims.get("email_verified") is True
        and same_address(email, settings.admin_email)
    )
    is_admin = is_admins or claims.get(settings.auth_admin_claim) is True
    return Principal(user_id_of(settings.auth_issuer, subject), is_admin, expires_at + leeway)


def _time(claims: dict[str, Any], name: str) -> float | None:
    """A claim in Unix seconds; None if it is absent, or is none."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -MAX_TIME < value < MAX_TIME:
        return None
    return float(value)


def _read(part: str) -> dict[str, Any] | None:
    """The JSON object in a part of a token; None if there is none, or a name in it stands twice.

    With two values, this service might believe one, and an earlier checker of the token the other.
    """
    try:
        text = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except (binascii.Error, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
