"""The door of the auth service (docs/contract.md section 4): it is asked about each token."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import aiohttp
import structlog
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, ValidationError

from chat_api import errors
from chat_api.access.principal import Principal, same_address
from chat_api.errors import describe
from chat_api.neighbours.answers import UnreadableAnswer, read_answer
from chat_api.settings import Settings

log = structlog.get_logger(__name__)

MAX_ANSWER_BYTES = 65_536


class _User(BaseModel):
    model_config = ConfigDict(extra="ignore")
    id: UUID
    is_admin: StrictBool | None = None  # pydantic's bool would also accept "true", "yes" and 1
    email: Any = None
    email_verified: Any = True  # what doesn't speak of it vouches for its addresses


class _Claims(BaseModel):
    model_config = ConfigDict(extra="ignore")
    exp: Annotated[StrictFloat, Field(allow_inf_nan=False)] | None = None  # NaN would never be past
    email_verified: Any = True


class _Validation(BaseModel):
    model_config = ConfigDict(extra="ignore")
    valid: StrictBool
    user: _User | None = None
    claims: _Claims | None = None


class ServiceDoor:
    """Takes every token, so it comes last."""

    name = "service"

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        """`session` must not decompress."""
        self._settings = settings
        self._session = session
        self.seconds = settings.auth_cache_seconds

    def takes(self, token: str) -> bool:
        """See Door."""
        return True

    async def close(self) -> None:
        """See Door."""

    async def ask(self, token: str) -> Principal | None:
        """See Door."""
        url = f"{self._settings.auth_service_url}/auth/validate"
        try:
            async with self._session.post(
                url,
                json={"token": token},
                headers={"X-Internal-API-Key": self._settings.internal_api_key.get_secret_value()},
                timeout=aiohttp.ClientTimeout(total=self._settings.auth_timeout),
                allow_redirects=False,
            ) as response:
                body = await read_answer(response, MAX_ANSWER_BYTES)
                status = response.status
        except UnreadableAnswer as error:
            log.error("auth_broken", reason=str(error))
            raise errors.AuthBroken from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("auth_unavailable", reason=describe(error))
            raise errors.AuthUnavailable from error
        if status == 401:
            return None
        if status in (429, 502, 503, 504):
            log.warning("auth_unavailable", status=status)
            raise errors.AuthUnavailable
        if status != 200:
            hint = "INTERNAL_API_KEY is not the auth service's" if status == 403 else "unexpected status"
            log.error("auth_broken", status=status, reason=hint)
            raise errors.AuthBroken
        return self._read(body)

    def _read(self, body: bytes) -> Principal | None:
        try:
            answer = _Validation.model_validate_json(body)
        except ValidationError as error:
            fields: list[Any] = [problem["loc"] for problem in error.errors(include_input=False)]
            log.error("auth_broken", reason="the response doesn't have the agreed form", fields=fields)
            raise errors.AuthBroken from None
        if not answer.valid:
            return None
        if answer.user is None:
            log.error("auth_broken", reason="a valid token without a user")
            raise errors.AuthBroken
        expires_at = answer.claims.exp if answer.claims and answer.claims.exp is not None else float("inf")
        is_admin = answer.user.is_admin is True or self._is_admins_address(answer.user, answer.claims)
        return Principal(answer.user.id, is_admin, expires_at)

    def _is_admins_address(self, user: _User, claims: _Claims | None) -> bool:
        is_verified = user.email_verified is True and (claims is None or claims.email_verified is True)
        return (
            is_verified
            and isinstance(user.email, str)
            and same_address(user.email, self._settings.admin_email)
        )
