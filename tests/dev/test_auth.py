"""The development auth service keeps the real one's contract, for one user on one machine."""

import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import jwt
import pytest

from chat_api.dev.auth import TOKEN_SECONDS, DevAuth
from chat_api.dev.errors import DevError

KEY = {"X-Internal-API-Key": "the key"}


@pytest.fixture
async def auth(tmp_path: Path) -> AsyncIterator[DevAuth]:
    service = DevAuth(tmp_path, "the key")
    yield service
    await service.stop()


async def validate(auth: DevAuth, body: Any, headers: dict[str, str] = KEY) -> tuple[int, dict[str, Any]]:
    url = await auth.start()
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/auth/validate", json=body, headers=headers) as response,
    ):
        return response.status, await response.json()


async def test_its_token_is_valid_for_seven_days_and_names_an_administrator(auth: DevAuth) -> None:
    status, body = await validate(auth, {"token": auth.token()})
    assert status == 200
    assert body["valid"] is True
    assert str(UUID(body["user"]["id"])) == body["user"]["id"] == body["claims"]["sub"]
    assert body["user"]["is_admin"] is True
    assert {"email", "name"} <= body["user"].keys()
    assert abs(body["claims"]["exp"] - time.time() - 7 * 24 * 3600) < 60


@pytest.mark.parametrize("headers", [{}, {"X-Internal-API-Key": ""}, {"X-Internal-API-Key": "another"}])
async def test_a_wrong_internal_key_is_refused_even_with_a_good_token(
    auth: DevAuth, headers: dict[str, str]
) -> None:
    status, body = await validate(auth, {"token": auth.token()}, headers)
    assert status == 403
    assert "user" not in body


async def test_an_expired_token_is_refused_with_the_reason(auth: DevAuth) -> None:
    token = auth.token(now=time.time() - TOKEN_SECONDS - 1)
    assert await validate(auth, {"token": token}) == (401, {"valid": False, "reason": "expired"})


@pytest.mark.parametrize("token", ["", "x", "a.b.c", 7, None])
async def test_what_is_no_token_is_refused(auth: DevAuth, token: Any) -> None:
    assert await validate(auth, {"token": token}) == (401, {"valid": False, "reason": "invalid"})


async def test_a_token_signed_elsewhere_or_not_at_all_is_refused(auth: DevAuth) -> None:
    claims = jwt.decode(auth.token(), options={"verify_signature": False})
    for forged in (jwt.encode(claims, "x" * 32, "HS256"), jwt.encode(claims, None, "none")):
        assert await validate(auth, {"token": forged}) == (401, {"valid": False, "reason": "invalid"})
        await auth.stop()


@pytest.mark.parametrize("body", [[], {}, "text", None])
async def test_a_body_without_a_token_is_422(auth: DevAuth, body: Any) -> None:
    status, _ = await validate(auth, body)
    assert status == 422


async def test_it_listens_on_loopback_alone(auth: DevAuth) -> None:
    assert (await auth.start()).startswith("http://127.0.0.1:")


def test_a_token_holds_over_a_restart_and_the_secret_is_private(tmp_path: Path) -> None:
    before = DevAuth(tmp_path, "a").token(now=1)
    assert DevAuth(tmp_path, "b").token(now=1) == before
    (kept,) = tmp_path.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_another_folder_has_another_secret_and_user(tmp_path: Path) -> None:
    one, other = (DevAuth(tmp_path / name, "key").token(now=1) for name in ("one", "other"))
    assert one != other


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    DevAuth(tmp_path, "key")
    (tmp_path / "auth.json").write_text('{"secret": 7')
    with pytest.raises(DevError, match="delete it"):
        DevAuth(tmp_path, "key")
