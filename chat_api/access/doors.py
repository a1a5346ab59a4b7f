"""The ways in: what each of them has in common, and how AUTH chooses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from chat_api.access.keys import KeyDoor
from chat_api.access.service import ServiceDoor

if TYPE_CHECKING:
    import aiohttp

    from chat_api.access.principal import Principal
    from chat_api.postgres.database import Database
    from chat_api.settings import Settings


class Door(Protocol):
    """A way to sign in by a token. Its answers are cached, and its refusals counted, by TokenVerifier."""

    name: str
    """As AUTH names it."""
    seconds: float
    """For how long a good answer is believed."""

    def takes(self, token: str) -> bool:
        """Whether the token has the form of those that belong here. Asks nobody."""

    async def ask(self, token: str) -> Principal | None:
        """The token's user, None if it is refused.

        Raises AuthBroken, AuthUnavailable or DatabaseUnavailable if it can't be checked.
        """

    async def close(self) -> None:
        """End what is under way."""


def doors_of(settings: Settings, session: aiohttp.ClientSession, database: Database) -> list[Door]:
    """The ways to sign in by a token that AUTH names, in the order in which they look at one.

    `session` must not decompress.
    """
    doors: list[Door] = []
    for way in settings.ways:
        match way:
            case "keys":
                doors.append(KeyDoor(settings, database))
            case "jwks":
                from chat_api.access.jwks import JwksDoor  # noqa: PLC0415 - the others need no cryptography

                doors.append(JwksDoor(settings, session))
            case "service":
                doors.append(ServiceDoor(settings, session))
    return doors
