"""MODELS_FILE: each key that it may have, and a sentence for each mistake that never has a secret in it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel

from chat_api.settings import Settings, SettingsError, load_settings
from chat_api.settings.models import Catalogue, Model, Price, Server, Thinking, load_catalogue
from chat_api.settings.platform_names import PLATFORM_NAMES

SECRET = "hunter2"
A = '[servers.a]\nurl = "http://a:1/v1"\n'
M = '[models.default]\nservers = ["a"]\n'
EVERY_KEY = """
[servers.near]
url = "http://gpu1:8000/v1?api-version=1"
protocol = "openai"
key = "NEAR_KEY"
key_header = "api-key"
headers = { X-Title = "Chat" }
connect_timeout = 1
first_token_timeout = 2.5
token_timeout = 3
max_streams = 4
wait_seconds = 0
max_failures = 6
rest_seconds = 7

[servers."नमस्ते"]
url = "https://b"
protocol = "nanochat"

[models.big]
name = "Qwen3 8B — चाय"
description = "for long texts"
servers = ["near", "नमस्ते"]
order = "least_busy"
served_as = { near = "Qwen/Qwen3-8B" }
context_tokens = 32768
max_tokens_field = "max_completion_tokens"
omit = ["temperature"]
rename = { top_k = "k" }
add = { a = [1, -2, 0.5, true, "x", { b = 18446744073709551615 }] }
continue = "vllm"
instructions = \"\"\"
Be brief.
Be kind.\"\"\"
who = "everybody"
[models.big.thinking]
on = { reasoning_effort = "high" }
off = { reasoning_effort = "none" }
tags = false
send_back = "reasoning_content"
instructions = "Think."
[models.big.price]
currency = "EUR"
prompt = 0.2
cached = 0
completion = 1

["models"."x/y:z, 1"]
servers = ["near"]
served_as = "z"
who = "admins"
"""


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the machine's variables, and any .env but the test's own."""
    for name in [*Settings.model_fields, *PLATFORM_NAMES, "NEAR_KEY"]:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


Load = Callable[..., Catalogue]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """What a file with this text says, with these settings beside it."""

    def load(text: str | bytes, **settings: object) -> Catalogue:
        path = tmp_path / "models.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_catalogue(load_settings(models_file=str(path), **settings))

    return load


Refused = Callable[..., list[str]]


@pytest.fixture
def refused(load: Load, tmp_path: Path) -> Refused:
    """The sentences about such a file. Each begins with the file's path."""

    def refused(text: str | bytes, **settings: object) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            load(text, **settings)
        start = f"MODELS_FILE {tmp_path / 'models.toml'}: "
        lines = str(caught.value).splitlines()
        assert all(line.startswith(start) for line in lines)
        assert SECRET not in str(caught.value)
        return [line.removeprefix(start) for line in lines]

    return refused


def keys(table: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in table.model_fields.items()}


def test_every_key_is_understood(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tomllib.loads(EVERY_KEY)
    assert given["servers"]["near"].keys() == keys(Server)
    big = given["models"]["big"]
    assert big.keys() == keys(Model)
    assert (big["thinking"].keys(), big["price"].keys()) == (keys(Thinking), keys(Price))

    monkeypatch.setenv("NEAR_KEY", "sekrit")
    catalogue = load(EVERY_KEY, internal_api_key="internal")
    assert list(catalogue.servers) == ["near", "नमस्ते"]
    near, other = catalogue.servers.values()
    assert near.model_dump(exclude={"key"}) == {
        k: v for k, v in given["servers"]["near"].items() if k != "key"
    }
    assert near.credentials == {"X-Title": "Chat", "api-key": "sekrit"}
    assert other.credentials == {"X-Internal-API-Key": "internal"}
    model = catalogue.models["big"]
    said = model.model_dump(by_alias=True)
    assert {**said, "servers": list(said["servers"]), "omit": list(said["omit"])} == big
    assert (catalogue.default, catalogue.is_open) == ("big", False)
    assert catalogue.served_as("big", "near") == "Qwen/Qwen3-8B"
    assert catalogue.served_as("big", "नमस्ते") == "big"
    assert catalogue.served_as("x/y:z, 1", "near") == "z"
    assert catalogue.find("x/y:z, 1") == "x/y:z, 1"
    assert catalogue.find("gone") is None
    assert catalogue.tags(is_admin=False) == ["big"]
    assert not catalogue.may_use("x/y:z, 1", is_admin=False)


def test_what_is_left_out_has_its_default(load: Load) -> None:
    catalogue = load(A + M)
    server, model = catalogue.servers["a"], catalogue.models["default"]
    assert (server.protocol, server.max_streams, server.wait_seconds) == ("openai", 0, 2)
    assert (server.max_failures, server.rest_seconds, server.credentials) == (5, 30, {})
    assert (server.connect_timeout, server.first_token_timeout, server.token_timeout) == (None, None, None)
    assert (model.order, model.max_tokens_field, model.go_on) == ("listed", "max_tokens", "ask")
    assert (model.thinking, model.price, model.who) == (Thinking(), None, "everybody")
    assert catalogue.served_as("default", "a") == ""  # the first that the server lists


def test_the_key_may_stand_in_the_file_of_the_environment(load: Load, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("NEAR_KEY=from-the-file\n")
    catalogue = load(A + 'key = "NEAR_KEY"\n' + M)
    assert catalogue.servers["a"].credentials == {"Authorization": "Bearer from-the-file"}


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"# \xe0\xa4\x9a\r\n"])
def test_a_byte_order_mark_and_other_line_ends_are_passed_over(load: Load, start: bytes) -> None:
    assert list(load(start + (A + M).replace("\n", "\r\n").encode()).models) == ["default"]


def test_without_a_file_the_environments_variables_are_one_server_and_one_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {
        "INFERENCE_PROTOCOL": "openai",
        "INFERENCE_SERVICE_URL": "http://gpu:8000/v1/",
        "INFERENCE_API_KEY": "sekrit",
        "INFERENCE_MODEL": "qwen3",
        "INFERENCE_OMIT": "temperature, top_k",
        "INFERENCE_MAX_TOKENS_FIELD": "max_completion_tokens",
        "INFERENCE_ADD": '{"reasoning_effort": "low"}',
        "INFERENCE_THINK_TAGS": "off",
        "INFERENCE_CONTEXT_TOKENS": "8192",
        "INFERENCE_CONTINUE": "vllm",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    catalogue = load_catalogue(load_settings())
    (server,), (model,) = catalogue.servers.values(), catalogue.models.values()
    assert (server.url, server.credentials) == (
        "http://gpu:8000/v1",
        {"Authorization": "Bearer sekrit"},
    )
    assert model == Model(
        servers=("inference",),
        served_as="qwen3",
        omit=("temperature", "top_k"),
        max_tokens_field="max_completion_tokens",
        add={"reasoning_effort": "low"},
        thinking=Thinking(tags=False),
        context_tokens=8192,
        go_on="vllm",
    )
    assert catalogue.is_open
    assert catalogue.find("any tag") == catalogue.default == "default"
    assert catalogue.served_as("default", "inference") == "qwen3"


def test_without_a_file_and_variables_the_platforms_service_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERNAL_API_KEY", "internal")
    catalogue = load_catalogue(load_settings())
    (server,) = catalogue.servers.values()
    assert (server.url, server.protocol) == ("http://inference:8000", "nanochat")
    assert server.credentials == {"X-Internal-API-Key": "internal"}


SERVER_MISTAKES = {
    'protocol = "grpc"': 'protocol = "grpc": must be "nanochat", "chat_web" or "openai"',
    'max_streams = "4"': 'max_streams = "4": must be a whole number',
    "max_streams = 1.5": "max_streams = 1.5: must be a whole number",
    "max_streams = true": "max_streams = true: must be a whole number",
    "max_streams = -1": "max_streams = -1: must be 0 or more",
    "max_streams = 100001": "max_streams = 100001: must be 100000 or less",
    "wait_seconds = nan": "wait_seconds = nan: must be a number, neither inf nor nan",
    "wait_seconds = -0.5": "wait_seconds = -0.5: must be 0 or more",
    "connect_timeout = 0": "connect_timeout = 0: must be more than 0",
    "connect_timeout = 3601": "connect_timeout = 3601: must be 3600 or less",
    "token_timeout = 07:32:00": "token_timeout = 07:32:00: must be a number",
    "max_failures = 0": "max_failures = 0: must be 1 or more",
    'key_header = "x y"': 'key_header = "x y": must be of letters, digits and hyphens, as names of HTTP '
    "headers are",
    'key_header = "Host"': 'key_header = "Host": must not be one that every request has: accept, '
    "accept-encoding, connection, content-length, content-type, host, transfer-encoding",
    "key = 3": "key: must be text in quotes",
    'headers = "hunter2"': "headers: must be a table, such as { name = value }",
    'headers = ["hunter2"]': "headers: must be a table, such as { name = value }",
    "headers = { X-Key = 3 }": "headers.X-Key: must be text in quotes",
    'headers = { X-Key = "hunter2\\n" }': "headers: X-Key must be printable ASCII",
    'headers = { X-Key = "hünter2 hunter2" }': "headers: X-Key must be printable ASCII",
    "retries = 3": "retries: there is no such key here; there are url, protocol, key, key_header, headers, "
    "connect_timeout, first_token_timeout, token_timeout, max_streams, wait_seconds, max_failures, "
    "rest_seconds",
    '"re\\ntries" = 3': '"re\\ntries": there is no such key here',
}
MODEL_MISTAKES = {
    'servers = ["b"]': 'servers: there is no server "b"; there are a',
    "servers = []": "servers = []: must have at least one",
    'servers = "a"': 'servers = "a": must be a list, such as ["a", "b"]',
    "servers = [1]": "servers[0] = 1: must be text in quotes",
    'servers = ["a", "a"]': "servers: must name each server once",
    "": "servers: is missing; there must be one",
    'order = "random"': 'order = "random": must be "listed" or "least_busy"',
    "served_as = 3": "served_as = 3: must be a name in quotes, or a table of a name for each server, such as "
    '{ near = "qwen3" }',
    "served_as = { a = 3 }": "served_as: must be a name in quotes, or a table of a name for each server",
    'served_as = { b = "x" }': 'served_as: "b" is none of its servers, which are a',
    "context_tokens = 0": "context_tokens = 0: must be 1 or more",
    'max_tokens_field = "n"': 'max_tokens_field = "n": must be "max_tokens" or "max_completion_tokens"',
    'omit = "temperature"': 'omit = "temperature": must be a list, such as ["a", "b"]',
    'omit = ["messages"]': 'omit = ["messages"]: must not name messages, which every request needs',
    'omit = ["top k"]': 'omit = ["top k"]: must be names of parameters such as temperature',
    "omit = [3]": "omit[0] = 3: must be text in quotes",
    'rename = { a = "model" }': "rename: must not name model, which every request needs",
    "rename = { a = 1 }": "rename.a = 1: must be text in quotes",
    "add = 3": "add = 3: must be a table, such as { name = value }",
    "add = { a = 2020-01-01 }": "add: a is 2020-01-01; JSON has no dates, no nan, no inf",
    "add = { a = { b = [0, nan] } }": "add: a.b.1 is nan; JSON has no dates, no nan, no inf",
    "add = { a = -inf }": "add: a is -inf; JSON",
    "add = { a = 99999999999999999999 }": "add: a is 99999999999999999999; JSON has no dates, no nan, "
    "no inf, no larger integers",
    'add = { model = "x", key = "hunter2" }': "add: must not name model, which every request needs",
    f"add = {{ a = {'[' * 101}{']' * 101} }}": "add: must hold at most 100 tables and lists",
    "thinking = true": "thinking = true: must be a table, such as { name = value }",
    'thinking = { tags = "on" }': 'thinking.tags = "on": must be true or false',
    "thinking = { on = 1 }": "thinking.on = 1: must be a table, such as { name = value }",
    "thinking = { on = { a = inf } }": "thinking.on: a is inf; JSON has no",
    'thinking = { send_back = "x" }': 'thinking.send_back = "x": must be "reasoning_content" or "reasoning"',
    "thinking = { of = {} }": "thinking.of: there is no such key here; there are on, off, tags, send_back, "
    "instructions",
    'continue = "go"': 'continue = "go": must be "ask", "prefill" or "vllm"',
    'go_on = "ask"': "go_on: there is no such key here; there are name, description, servers, order, "
    "served_as, context_tokens, max_tokens_field, omit, rename, add, thinking, continue, instructions, "
    "price, who",
    'name = "a\\nb"': 'name = "a\\nb": must be one line of printable characters',
    f'name = "{"x" * 101}"': f'name = "{"x" * 60}…": must be at most 100 characters long',
    f'instructions = "{"x" * 100_001}"': f'instructions = "{"x" * 60}…": must be at most 100000 characters',
    "price = 3": "price = 3: must be a table, such as { name = value }",
    'price = { currency = "eur", prompt = 1, completion = 1 }': 'price.currency = "eur": must be three '
    "capital letters, such as EUR",
    'price = { currency = "EUR", prompt = -1, completion = 1 }': "price.prompt = -1: must be 0 or more",
    'price = { currency = "EUR", prompt = 1 }': "price.completion: is missing; there must be one",
    'price = { currency = "EUR", prompt = 1, completion = 1, output = 1 }': "price.output: there is no such "
    "key here; there are currency, prompt, cached, completion",
    'who = "staff"': 'who = "staff": must be "everybody" or "admins"',
    'who = "admins"': 'who = "admins": must be "everybody", since this is the default model',
}


@pytest.mark.parametrize("line", SERVER_MISTAKES)
def test_a_servers_mistake_is_named_with_what_is_allowed(refused: Refused, line: str) -> None:
    (sentence,) = refused(f"{A}{line}\n{M}")
    assert sentence.startswith(f"servers.a.{SERVER_MISTAKES[line]}")


@pytest.mark.parametrize("line", MODEL_MISTAKES)
def test_a_models_mistake_is_named_with_what_is_allowed(refused: Refused, line: str) -> None:
    servers = "" if line.startswith("servers") or not line else 'servers = ["a"]\n'
    (sentence,) = refused(f"{A}[models.default]\n{servers}{line}\n")
    assert sentence.startswith(f"models.default.{MODEL_MISTAKES[line]}")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ('"ftp://u:hunter2@a"', 'url = "ftp://...@a": must be a URL such as http://host:8000'),
        ('"http://u:hunter2@a/x y"', 'url = "http://...@a/x y": must be a URL such as http://host:8000'),
        ('"http://u:not/hunter2@b@a:x/y"', 'url = "http://...@a:x/y": must be a URL'),
        ('"u:hunter2@a"', 'url = "...@a": must be a URL such as http://host:8000'),
        ('"http://a/ ?key=hunter2"', 'url = "http://a/ ?...": must be a URL such as http://host:8000'),
        ('["http://u:hunter2@a"]', "url: must be text in quotes"),
        ('{ u = "hunter2" }', "url: must be text in quotes"),
        ('"http://a/models?key=hunter2"', 'url = "http://a/models?...": must end before /models'),
        ('"http://a/v1#x"', 'url = "http://a/v1#x": must have no fragment'),
    ],
)  # fmt: skip
def test_a_url_is_named_without_its_password_and_its_query(refused: Refused, url: str, sentence: str) -> None:
    (told,) = refused(f"[servers.a]\nurl = {url}\n{M}")
    assert told.startswith(f"servers.a.{sentence}")


NO_VARIABLE = "must be the name of an environment variable that is set and holds the key, not the key itself"


@pytest.mark.parametrize(
    "key", ["sk-hunter2", "hunter2", "AKIAIOSFODNN7EXAMPLE", "hunter2\\n", "\\u0000", "A" * 32]
)
def test_a_key_in_place_of_its_variables_name_is_not_shown(refused: Refused, key: str) -> None:
    assert refused(f'{A}key = "{key}"\n{M}') == [f"servers.a.key: {NO_VARIABLE}"]


def test_a_variable_that_is_not_set_is_named(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [f'servers.a.key = "NEAR_KEY": {NO_VARIABLE}']
    assert refused(f'{A}key = "NEAR_KEY"\n{M}') == told
    monkeypatch.setenv("NEAR_KEY", "")
    assert refused(f'{A}key = "NEAR_KEY"\n{M}') == told
    monkeypatch.setenv("NEAR_KEY", "hunter2\n")
    (sentence,) = refused(f'{A}key = "NEAR_KEY"\n{M}')
    assert sentence.startswith('servers.a.key = "NEAR_KEY": what this variable holds must be printable ASCII')


def test_the_key_is_sent_in_one_header(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEAR_KEY", SECRET)
    lines = 'key = "NEAR_KEY"\nheaders = { authorization = "Bearer hunter2" }\n'
    told = ["servers.a.headers: must not have Authorization, in which the key is sent"]
    assert refused(A + lines + M) == told


@pytest.mark.parametrize("line", ['key = "NEAR_KEY"', 'headers = { authorization = "Bearer hunter2" }'])
def test_a_urls_password_is_not_sent_beside_a_key(
    refused: Refused, load: Load, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setenv("NEAR_KEY", SECRET)
    server = '[servers.a]\nurl = "http://u:hunter2@a/v1"\n'
    told = "servers.a.url: must have no name and no password, which are sent in the header of Authorization"
    assert refused(f"{server}{line}\n{M}") == [told]
    other = 'key = "NEAR_KEY"\nkey_header = "X-Key"\n'
    assert load(server + other + M).servers["a"].credentials == {"X-Key": SECRET}


def test_a_urls_password_is_not_sent_beside_the_environments_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERENCE_SERVICE_URL", "http://u:hunter2@a/v1")
    monkeypatch.setenv("INFERENCE_API_KEY", SECRET)
    assert load_catalogue(load_settings()).servers["inference"].protocol == "nanochat"
    monkeypatch.setenv("INFERENCE_PROTOCOL", "openai")
    with pytest.raises(SettingsError, match=r"^INFERENCE_SERVICE_URL must have no name and no password"):
        load_catalogue(load_settings())


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (
            "",
            [
                "servers: must have a table for each server, such as [servers.near]",
                "models: must have a table for each model, such as [models.default]",
            ],
        ),
        (A, ["models: must have a table for each model, such as [models.default]"]),
        (M, ["servers: must have a table for each server, such as [servers.near]"]),
        ("servers = 1\n" + M, ["servers: must have a table for each server, such as [servers.near]"]),
        ("servers.a = 1\n" + M, ["servers.a: must be a table, [servers.a]"]),
        (A + M + "[default]\n", ["default: there is no such key here; there are servers, models"]),
        ("[servers.a]\n" + M, ["servers.a.url: is missing; there must be one"]),
        (
            A + '[servers."b\\u0000"]\nurl = "http://b"\n' + M,
            ['servers."b\\u0000": a server\'s name must be 1 to 100 printable characters long'],
        ),
        (
            A + M + f'[models.""]\nservers = ["a"]\n[models.{"x" * 101}]\nservers = ["a"]\n',
            [
                'models."": a model\'s name must be 1 to 100 printable characters long',
                f'models."{"x" * 60}…": a model\'s name must be 1 to 100 printable characters long',
            ],
        ),
        (
            '[servers."क"]\nurl = "http://k"\n[models."चाय"]\nservers = ["b"]\n',
            ['models."चाय".servers: there is no server "b"; there are क'],
        ),
    ],
)
def test_what_tables_there_must_be_is_told(refused: Refused, text: str, sentences: list[str]) -> None:
    assert refused(text) == sentences


def test_every_mistake_is_told_at_once(refused: Refused) -> None:
    told = refused(f'{A}huh = 1\nmax_streams = -1\n[servers.b]\n{M}order = "x"\nwho = 1\n')
    assert [sentence.partition(":")[0].partition(" = ")[0] for sentence in told] == [
        "servers.a.max_streams",
        "servers.a.huh",
        "servers.b.url",
        "models.default.order",
        "models.default.who",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (A + "x = \n", "is no TOML: Invalid value (at line 3, column 5)"),
        (A + A, "is no TOML: Cannot declare ('servers', 'a') twice (at line 3, column 11)"),
        (A + 'key = "hunter2\n', "is no TOML: Illegal character '\\n' (at line 3, column 15)"),
        ('\nx = "hunter2', "is no TOML: Unterminated string (at the end, line 2)"),
        ("a = 1\na = 2", "is no TOML: Cannot overwrite a value (at the end, line 2)"),
        (A + "\0", "is no TOML: Invalid statement (at line 3, column 1)"),
        (f"a = {'[' * 100_000}", "has too many lists or tables within each other"),
        (b"# one\n# \xff hunter2\n", "must be UTF-8 text, which line 2 isn't"),
        (A.encode("utf-16"), "must be UTF-8 text, which line 1 isn't"),
        (b"#" * 1_048_577, "must be at most 1048576 bytes long"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(refused: Refused, text: str | bytes, sentence: str) -> None:
    assert refused(text) == [sentence]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    def refusal(path: object) -> str:
        with pytest.raises(SettingsError) as caught:
            load_catalogue(load_settings(models_file=str(path)))
        return str(caught.value)

    gone = tmp_path / "gone.toml"
    assert refusal(gone) == f"MODELS_FILE {gone}: can't be read: {os.strerror(2)}"
    assert refusal(tmp_path) == f"MODELS_FILE {tmp_path}: can't be read: {os.strerror(21)}"
    assert refusal("/dev/zero") == "MODELS_FILE /dev/zero: must be at most 1048576 bytes long"
    assert refusal("a\0b").endswith("can't be read: no path has such a character")


def test_settings_that_the_file_contradicts_are_named(refused: Refused, load: Load) -> None:
    assert refused(A + M, title_model="small") == [
        'models: there is none for TITLE_MODEL="small"; there are default'
    ]
    load(A + M, title_model="default")
    nanochat = '[servers.a]\nurl = "http://a"\nprotocol = "nanochat"\n'
    assert refused(nanochat + M, default_max_tokens=4097) == [
        "servers: none may be asked for DEFAULT_MAX_TOKENS=4097; at most 4096"
    ]
    load(nanochat + M + "[servers.b]\nurl = 'http://b'\n", default_max_tokens=4097)


@pytest.mark.parametrize("first", ["default", "first"])
def test_the_default_model_is_for_everybody(refused: Refused, first: str) -> None:
    text = f'{A}[models.{first}]\nservers = ["a"]\nwho = "admins"\n[models.second]\nservers = ["a"]\n'
    assert refused(text) == [
        f'models.{first}.who = "admins": must be "everybody", since this is the default model'
    ]


def test_a_bad_file_of_variables_is_told(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    settings = load_settings(models_file=str(path))
    path.write_text(A + 'key = "NEAR_KEY"\n' + M)
    (tmp_path / ".env").write_bytes(b"NEAR_KEY=\xff\n")
    with pytest.raises(SettingsError, match="can't be read as UTF-8"):
        load_catalogue(settings)
