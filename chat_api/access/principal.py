"""Who is asking, and what they may do."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, TypeGuard
from uuid import NAMESPACE_URL, UUID, uuid5

Scope = Literal["read", "chat", "admin"]
SCOPES: frozenset[Scope] = frozenset({"read", "chat", "admin"})

MAX_SUBJECT_CHARACTERS = 255  # as OpenID Connect Core section 2 has it


@dataclass(frozen=True, slots=True)
class Principal:
    """A signed-in user. `expires_at`: when the token expires, in Unix seconds; infinity if it doesn't say.

    `scopes`: what the token may be used for. Only API keys and tickets have fewer than all. `is_provisional`:
    at `expires_at` nothing expires, but who signed the user in is to be asked again.
    """

    user_id: UUID
    is_admin: bool
    expires_at: float
    scopes: frozenset[Scope] = SCOPES
    is_provisional: bool = False


def about(seconds: float) -> float:
    """A time that is a little shorter: sockets that were opened together shouldn't all come back together."""
    return seconds * random.uniform(0.9, 1)


def user_id_of(issuer: str, subject: str) -> UUID:
    """The user's id: the subject itself if it is a UUID in lower case, else one made of issuer and subject.

    The same two always give the same id, and any others another one: uuid5 of the subject in a namespace that
    is uuid5 of the issuer (RFC 9562 section 5.5).
    """
    try:
        parsed = UUID(subject)
    except ValueError:
        parsed = None
    # Python's parser also takes braces, capitals and no hyphens, which would be the subjects of other users.
    if parsed is not None and str(parsed) == subject:
        return parsed
    return uuid5(uuid5(NAMESPACE_URL, issuer), subject)


def is_subject(text: object) -> TypeGuard[str]:
    """Whether this can be the name or id of a user at the party that signs the user in."""
    return isinstance(text, str) and 0 < len(text) <= MAX_SUBJECT_CHARACTERS and text.isprintable()


def same_address(one: str, other: str) -> bool:
    """Whether two e-mail addresses are the same; an empty one is nobody's.

    Blanks around them don't count, nor does the case of ASCII letters. Unicode's folding would take other
    people's addresses for the same: of the Kelvin sign it makes a k.
    """
    return bool(_folded(one)) and _folded(one) == _folded(other)


def _folded(address: str) -> bytes:
    return address.strip(" \t\r\n").encode(errors="surrogatepass").lower()
