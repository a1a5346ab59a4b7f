"""AUTH: which ways to sign in there are, and in which order they look at a token."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chat_api.settings import Settings, SettingsError, load_settings

PROVIDER = {"AUTH_ISSUER": "https://id.example/", "AUTH_AUDIENCE": "chat"}
ISSUER = "https://id.example/"


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def test_by_default_there_is_the_auth_service_alone() -> None:
    assert load_settings().ways == ("service",)


@pytest.mark.parametrize(
    ("auth", "ways"),
    [
        ("service,keys", ("keys", "service")),
        ("keys, service", ("keys", "service")),
        ("header", ("header",)),
        ("header,service,jwks,keys", ("keys", "jwks", "service", "header")),
    ],
)
def test_the_order_is_always_the_same(
    monkeypatch: pytest.MonkeyPatch, auth: str, ways: tuple[str, ...]
) -> None:
    for name, value in {"AUTH": auth, **PROVIDER}.items():
        monkeypatch.setenv(name, value)
    assert load_settings().ways == ways


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"AUTH": "oidc"}, "AUTH='oidc': must be one or more of header, jwks, keys, service"),
        ({"AUTH": "keys,"}, None),
        ({"AUTH": ","}, "AUTH=',': must be one or more of"),
        ({"AUTH": "keys,keys"}, "AUTH='keys,keys': must be one or more of"),
        ({"AUTH": "Service"}, "AUTH='Service': must be one or more of"),
        ({"AUTH": "jwks"}, "AUTH_ISSUER='': must be the issuer in the provider's tokens"),
        ({"AUTH": "jwks", "AUTH_ISSUER": ISSUER}, "AUTH_AUDIENCE='': must name this service"),
        ({"AUTH": "jwks", "AUTH_ISSUER": ISSUER, "AUTH_AUDIENCE": " , "}, "must name this service"),
        ({"AUTH": "jwks", "AUTH_ISSUER": "id.example", "AUTH_AUDIENCE": "a"}, "must be a URL such as"),
        ({"AUTH_ISSUER": "https://id.example/?x"}, "must have no query"),
        ({"AUTH_JWKS_URL": "ftp://id.example/keys"}, "must be a URL such as"),
        ({"AUTH_JWKS_URL": "https://u:p@id.example/keys"}, "no user and no password"),
        ({"AUTH_JWKS_URL": "https://id.example/keys#a"}, "must have no fragment"),
        ({"AUTH_ALGORITHMS": "none"}, "AUTH_ALGORITHMS='none': must be one or more of RS256"),
        ({"AUTH_ALGORITHMS": "RS256,HS256"}, "must be one or more of RS256"),
        ({"AUTH_ALGORITHMS": ","}, "must be one or more of RS256"),
        ({"AUTH_LEEWAY": "301"}, "less than or equal to 300"),
        ({"AUTH_LEEWAY": "-1"}, "greater than or equal to 0"),
        ({"AUTH_USER_HEADER": "X_Auth_User"}, "letters, digits and hyphens"),
        ({"AUTH_USER_HEADER": "Authorization"}, "must be a header that only the proxy sets"),
        ({"AUTH_EMAIL_HEADER": "a b"}, "letters, digits and hyphens"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentence: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if sentence is None:
        load_settings()
        return
    with pytest.raises(SettingsError, match=sentence.replace("'", ".")) as caught:
        load_settings()
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize("auth", ["service", "keys", "header", "keys,service,header"])
def test_without_jwks_nothing_of_it_is_loaded(checkout: Path, auth: str) -> None:
    script = (
        "import sys\n"
        "from chat_api.access.doors import doors_of\n"
        "from chat_api.settings import Settings\n"
        f"print([door.name for door in doors_of(Settings(auth={auth!r}), None, None)], file=sys.stderr)\n"
        "print(*sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=checkout
    )
    assert {"jwt", "cryptography", "chat_api.access.jwks"} & set(ran.stdout.split()) == set()
