"""Settings: read from the environment, checked at start, with a sentence for each that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from chat_api.settings import Settings, SettingsError, contradicting_names, load_settings
from chat_api.settings.platform_names import PLATFORM_NAMES

NUMBERS = [name for name, field in Settings.model_fields.items() if field.annotation in (int, float)]


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the machine's variables, and any .env but the test's own."""
    for name in [*Settings.model_fields, *PLATFORM_NAMES]:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def refusal() -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings()
    return str(caught.value)


def test_the_defaults_are_those_of_the_platform() -> None:
    settings = load_settings()
    assert settings.database_url == "postgresql+asyncpg://localhost/samosachaat"
    assert settings.auth_service_url == "http://auth:8001"
    assert settings.inference_service_url == "http://inference:8000"
    assert settings.inference_protocol == "nanochat"
    assert settings.internal_api_key.get_secret_value() == ""
    assert (settings.max_conversation_history, settings.max_token_budget) == (50, 6000)
    assert settings.origins == ["http://localhost:3000"]
    assert settings.log_level == "INFO"
    assert (settings.default_temperature, settings.default_max_tokens, settings.default_top_k) == (
        0.8,
        1024,
        50,
    )
    timeouts = (
        settings.inference_connect_timeout,
        settings.inference_first_token_timeout,
        settings.inference_token_timeout,
    )
    assert timeouts == (5, 60, 30)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("MAX_CONVERSATION_HISTORY", "0", "greater than or equal to 1"),
        ("MAX_CONVERSATION_HISTORY", "501", "less than or equal to 500"),
        ("MAX_CONVERSATION_HISTORY", "many", "integer"),
        ("MAX_CONVERSATION_HISTORY", "1.5", "integer"),
        ("MAX_TOKEN_BUDGET", "-1", "greater than or equal to 1"),
        ("SERVICE_ROLE", "x" * 64, "at most 63 bytes"),
        ("INFERENCE_PROTOCOL", "grpc", "'nanochat', 'chat_web' or 'openai'"),
        ("LOG_LEVEL", "LOUD", "'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'"),
        ("LOG_FORMAT", "xml", "'auto', 'json' or 'text'"),
        ("INFERENCE_TOKEN_TIMEOUT", "0", "greater than 0"),
        ("INFERENCE_TOKEN_TIMEOUT", "inf", "finite number"),
        ("INFERENCE_TOKEN_TIMEOUT", "nan", "finite number"),
        ("KEEPALIVE_INTERVAL", "15.1", "less than or equal to 15"),
        ("DEFAULT_TEMPERATURE", "2.1", "less than or equal to 2"),
        ("AUTH_SERVICE_URL", "auth:8001", "http://host:8000"),
        ("AUTH_SERVICE_URL", "ftp://auth", "http://host:8000"),
        ("AUTH_SERVICE_URL", "http://", "http://host:8000"),
        ("AUTH_SERVICE_URL", "http://auth 8001", "http://host:8000"),
        ("INFERENCE_SERVICE_URL", "http://a:1, http://b:1", "http://host:8000"),
        ("INFERENCE_SERVICE_URL", "http://a,b", "http://host:8000"),
        ("INFERENCE_SERVICE_URL", "http://host:99999", "http://host:8000"),
        ("INFERENCE_SERVICE_URL", "http://[::1", "http://host:8000"),
        ("INFERENCE_SERVICE_URL", "http://host/deployments/gpt?api-version=2024-10-21", "must have no query"),
        ("INFERENCE_SERVICE_URL", "http://host/v1/chat/completions/", "must end before /chat/completions"),
        ("INFERENCE_SERVICE_URL", "https://host/v1/models", "must end before /models"),
        ("AUTH_SERVICE_URL", "http://auth:8001/#/", "no fragment"),
        ("FRONTEND_URL", "*", "http://host:8000"),
        ("FRONTEND_URL", "http://a, localhost:3000", "http://host:8000"),
        ("FRONTEND_URL", "https://chat.example/app", "https://chat.example"),
        ("FRONTEND_URL", "https://chat.example?x", "https://chat.example"),
        ("BASE_PATH", "chat", "a path such as /chat"),
        ("BASE_PATH", "//chat", "a path such as /chat"),
        ("BASE_PATH", "/a/../chat", "a path such as /chat"),
        ("BASE_PATH", "/{chat}", "a path such as /chat"),
        ("BASE_PATH", "/the%20chat", "a path such as /chat"),
        ("BASE_PATH", "/chât", "a path such as /chat"),
        ("BASE_PATH", "/chat?x", "a path such as /chat"),
        ("BASE_PATH", "https://chat.example/chat", "a path such as /chat"),
        (
            "TRUSTED_PROXIES",
            "nginx",
            "'nginx' does not appear to be an IPv4 or IPv6 network; must be IP addresses",
        ),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "10.0.0.1/8 has host bits set"),
        ("TRUSTED_PROXIES", "10.0.0.1 10.0.0.2", "separated by commas"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,none", "or none"),
        ("ADMIN_EMAIL", "admin", "one e-mail address such as admin@chat.example"),
        ("ADMIN_EMAIL", "a@chat.example,b@chat.example", "one e-mail address"),
        ("ADMIN_EMAIL", "@", "one e-mail address"),
        ("EXPIRED_STREAMS", "keep", "'finish' or 'cut'"),
        ("AUTH_CACHE_TTL_SECONDS", "0", "greater than 0"),
        ("AUTH_CACHE_MAX_SIZE", "many", "integer"),
        ("INFERENCE_DEFAULT_TEMPERATURE", "2.5", "less than or equal to 2"),
        ("INFERENCE_DEFAULT_MAX_TOKENS", "0", "greater than or equal to 1"),
        ("INFERENCE_DEFAULT_TOP_K", "-1", "greater than or equal to 0"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(name, value)
    text = refusal()
    assert text.startswith(f"{name}={value!r}: ")
    assert allowed in text
    assert "\n" not in text


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["x", "-1e300", "1e300"])
def test_every_number_has_its_bounds(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert refusal().startswith(f"{name.upper()}={value!r}: ")


def test_every_bad_value_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    monkeypatch.setenv("MAX_TOKEN_BUDGET", "0")
    assert [line.partition("=")[0] for line in refusal().splitlines()] == ["MAX_TOKEN_BUDGET", "LOG_LEVEL"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgresql://u:hunter2@host:port/db"),
        ("DATABASE_URL", "mysql://u:hunter2@host/db"),
        ("DATABASE_URL", "hunter2"),
        ("INTERNAL_API_KEY", "hunter2\n"),
        ("INFERENCE_API_KEY", "hünter2 hunter2"),
        ("AUTH_SERVICE_URL", "http://u:hunter2@host:port"),
        ("INFERENCE_SERVICE_URL", "ftp://hunter2@host"),
        ("FRONTEND_URL", "https://u:hunter2@chat.example"),
    ],
)
def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    text = refusal()
    assert text.startswith(name)
    assert "hunter2" not in text


def test_settings_hide_their_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERNAL_API_KEY", "hunter2")
    monkeypatch.setenv("INFERENCE_API_KEY", "hunter3")
    settings = load_settings()
    assert settings.internal_api_key.get_secret_value() == "hunter2"
    assert "hunter" not in f"{settings!r} {settings}"


def test_settings_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError):
        load_settings().log_level = "DEBUG"  # type: ignore[misc]


def test_the_environment_wins_over_the_file_and_empty_counts_as_unset(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(
        "MAX_TOKEN_BUDGET=7\nLOG_LEVEL=error\nUNKNOWN=1\nSYSTEM_PROMPT='Sei nett: ä🦜'\n"
    )
    monkeypatch.setenv("MAX_TOKEN_BUDGET", "8")
    monkeypatch.setenv("DATABASE_URL", "")
    settings = load_settings()
    assert (settings.max_token_budget, settings.log_level) == (8, "ERROR")
    assert settings.system_prompt == "Sei nett: ä🦜"
    assert settings.database_url == "postgresql+asyncpg://localhost/samosachaat"
    assert load_settings(max_token_budget=9).max_token_budget == 9


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"SYSTEM_PROMPT=\xe4\n")
    assert refusal().startswith("the file .env can't be read as UTF-8 text")


@pytest.mark.parametrize(
    ("given", "origins"),
    [
        ("https://Chat.Example/", ["https://chat.example"]),
        (" http://a:1 ,, https://b/ ,", ["http://a:1", "https://b"]),
        (",", []),
        ("http://[::1]:3000", ["http://[::1]:3000"]),
    ],
)
def test_origins_are_read_as_browsers_write_them(
    monkeypatch: pytest.MonkeyPatch, given: str, origins: list[str]
) -> None:
    monkeypatch.setenv("FRONTEND_URL", given)
    assert load_settings().origins == origins


def test_a_slash_at_the_end_of_a_neighbours_url_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_SERVICE_URL", "http://auth:8001/base//")
    assert load_settings().auth_service_url == "http://auth:8001/base"


# Each with a value that isn't the default.
VALUES = dict(zip(PLATFORM_NAMES, ["0.5", "77", "7", "11", "99"], strict=True))


@pytest.mark.parametrize(("theirs", "own"), PLATFORM_NAMES.items())
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_the_platforms_names_are_understood(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, theirs: str, own: str, place: str
) -> None:
    if place == ".env":
        (tmp_path / ".env").write_text(f"{theirs.upper()}={VALUES[theirs]}\n")
    else:
        monkeypatch.setenv(theirs.upper(), VALUES[theirs])
    assert getattr(load_settings(), own) == float(VALUES[theirs])
    assert contradicting_names() == []


@pytest.mark.parametrize(("own", "theirs"), [("environment", ".env"), (".env", "environment")])
def test_the_services_own_name_wins_wherever_it_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: str, theirs: str
) -> None:
    given = {own: ("AUTH_CACHE_SECONDS", "7"), theirs: ("AUTH_CACHE_TTL_SECONDS", "8")}
    monkeypatch.setenv(*given["environment"])
    (tmp_path / ".env").write_text("=".join(given[".env"]))
    assert load_settings().auth_cache_seconds == 7
    assert contradicting_names() == [("AUTH_CACHE_SECONDS", "AUTH_CACHE_TTL_SECONDS")]
    assert load_settings(auth_cache_seconds=9).auth_cache_seconds == 9


@pytest.mark.parametrize(
    ("own", "theirs", "differ"),
    [("300", "300.0", False), ("0.5", " 0.50", False), ("", "8", False), ("8", "", False), ("8", "x", True)],
)
def test_only_names_that_contradict_each_other_are_told(
    monkeypatch: pytest.MonkeyPatch, own: str, theirs: str, *, differ: bool
) -> None:
    monkeypatch.setenv("AUTH_CACHE_SECONDS", own)
    monkeypatch.setenv("AUTH_CACHE_TTL_SECONDS", theirs)
    assert load_settings().auth_cache_seconds == float(own or theirs)
    assert bool(contradicting_names()) is differ


def test_a_bad_value_is_told_under_the_name_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_CACHE_SECONDS", "0")
    monkeypatch.setenv("AUTH_CACHE_TTL_SECONDS", "300")
    assert refusal().startswith("AUTH_CACHE_SECONDS='0': ")


@pytest.mark.parametrize(
    ("given", "level"), [("WARN", "WARNING"), ("warn", "WARNING"), ("Fatal", "CRITICAL"), ("info", "INFO")]
)
def test_levels_have_pythons_other_names_too(monkeypatch: pytest.MonkeyPatch, given: str, level: str) -> None:
    monkeypatch.setenv("LOG_LEVEL", given)
    assert load_settings().log_level == level
