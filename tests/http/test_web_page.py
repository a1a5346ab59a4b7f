"""The web page's files: public, revalidated, and restricted by their headers."""

from __future__ import annotations

import gzip
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from yarl import URL

from chat_api.folders import web_dir
from chat_api.settings import Settings
from tests.conftest import Client, Start

FILES = sorted(path.relative_to(web_dir()).as_posix() for path in web_dir().rglob("*") if path.is_file())
ASSETS = [name for name in FILES if name != "index.html"]


class Tags(HTMLParser):
    """The start tags of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def directives(policy: str) -> dict[str, str]:
    return dict(each.strip().partition(" ")[::2] for each in policy.split(";"))


def page_addresses(page: str) -> list[str]:
    """The URLs that a page loads or links to."""
    found = Tags(page).found
    return [str(tag[name]) for _, tag in found for name in ("src", "href") if name in tag]


async def test_the_page_wants_no_token_and_allows_nothing_foreign_or_inline(client: Client) -> None:
    response = await client.get("/")
    assert (response.status, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    policy = directives(response.headers["Content-Security-Policy"])
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' data:"
    assert policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["frame-ancestors"] == "'self' http://localhost:3000"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in str(policy)


async def test_each_address_in_the_page_is_relative_and_leads_to_a_file(client: Client) -> None:
    addresses = page_addresses(await (await client.get("/")).text())
    assert addresses
    for address in addresses:
        assert not URL(address).absolute
        assert not address.startswith("/")
        assert (await client.get(f"/{address}")).status == 200, address


async def test_the_page_names_each_module_beforehand(client: Client) -> None:
    tags = Tags(await (await client.get("/")).text()).found
    named = {str(attributes["href"]) for _, attributes in tags if attributes.get("rel") == "modulepreload"}
    modules = {
        f"web/{name}" for name in ASSETS if name.endswith(".js") and name.startswith(("client/", "page/"))
    }
    modules -= {"web/page/main.js", "web/page/theme.js"}  # inline scripts
    libraries = re.findall(
        r'from "\.\./\.\./(vendor/.*?)"', (web_dir() / "page" / "ui" / "libraries.js").read_text()
    )
    assert named == modules | {f"web/{name}" for name in ["client.js", *libraries]}


async def test_the_page_holds_no_inline_script_or_style(client: Client) -> None:
    for tag, attributes in Tags(await (await client.get("/")).text()).found:
        assert tag not in ("style", "base")
        assert tag != "script" or attributes.get("src")
        assert not [name for name in attributes if name == "style" or name.startswith("on")]


@pytest.mark.parametrize("name", ASSETS)
async def test_every_file_is_served_as_what_it_is(client: Client, name: str) -> None:
    response = await client.get(f"/web/{name}", headers={"Accept-Encoding": "identity"})
    assert response.status == 200
    assert await response.read() == (web_dir() / name).read_bytes()
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    if name.endswith(".js"):
        assert response.content_type == "text/javascript"
    if name.endswith(".css"):
        assert response.content_type == "text/css"


@pytest.mark.parametrize("path", ["/", f"/web/{ASSETS[0]}"])
async def test_a_file_that_is_known_is_not_sent_again(client: Client, path: str) -> None:
    for encoding in ("gzip", "identity"):
        headers = {"Accept-Encoding": encoding}
        first = await client.get(path, headers=headers)
        etag = first.headers["ETag"]
        again = await client.get(path, headers=headers | {"If-None-Match": f'"other", {etag}'})
        assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", etag)
        assert again.headers["Cache-Control"] == first.headers["Cache-Control"]
        assert "Accept-Encoding" in again.headers["Vary"]
        changed = await client.get(path, headers=headers | {"If-None-Match": '"other"'})
        assert changed.status == 200


async def test_the_page_is_asked_for_each_time_and_a_named_version_once(client: Client) -> None:
    assert (await client.get("/")).headers["Cache-Control"] == "no-cache"
    for name in ASSETS:
        cached = (await client.head(f"/web/{name}")).headers["Cache-Control"]
        versioned = name.startswith("vendor/") and name.endswith(".js")
        assert ("immutable" in cached) == versioned, name


async def test_what_is_sent_compressed_is_the_same_file_under_another_tag(client: Client) -> None:
    session = client.session
    plain = await session.get(client.make_url("/"), headers={"Accept-Encoding": "identity"})
    async with session.get(
        client.make_url("/"), headers={"Accept-Encoding": "gzip"}, auto_decompress=False
    ) as packed:
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(await packed.read()) == await plain.read()
        assert packed.headers["ETag"] != plain.headers["ETag"]


async def test_head_has_the_same_headers_and_no_body(client: Client) -> None:
    got, head = await client.get("/"), await client.head("/")
    assert (head.status, await head.read()) == (200, b"")
    for name in ("Content-Length", "Content-Type", "ETag", "Content-Security-Policy"):
        assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize(
    "path",
    [
        "/web/",
        "/web",
        "/web/nothing.js",
        "/web/index.html",
        "/web/../app.py",
        "/web/%2e%2e/app.py",
        "/web/..%2fapp.py",
        "/web/page/../../app.py",
        "/web//etc/passwd",
        "/web/%2fetc%2fpasswd",
        "/web/page",
        "/web/page%00.js",
        "/favicon.ico",
    ],
)
async def test_no_other_path_leads_to_a_file(client: Client, user: dict[str, str], path: str) -> None:
    url = URL(str(client.make_url("")).rstrip("/") + path, encoded=True)
    async with client.session.get(url, headers=user) as response:
        assert response.status == 404
        assert (await response.json())["code"] == "not_found"


async def test_other_methods_are_refused(client: Client, user: dict[str, str]) -> None:
    for path in ("/", f"/web/{ASSETS[0]}"):
        assert (await client.post(path, headers=user)).status == 405


async def test_switched_off_nothing_of_it_is_there(
    start: Start, settings: Settings, user: dict[str, str]
) -> None:
    client = await start(settings.model_copy(update={"web_ui": "off"}))
    for path in ("/", f"/web/{ASSETS[0]}"):
        assert (await client.get(path, headers=user)).status == 404
    assert (await client.get("/api/conversations", headers=user)).status == 200


async def test_the_token_url_reaches_the_page_and_its_policy(start: Start, settings: Settings) -> None:
    url = 'https://site.example/token?a="&b'
    client = await start(settings.model_copy(update={"web_token_url": url}))
    response = await client.get("/")
    metas = [attributes for tag, attributes in Tags(await response.text()).found if tag == "meta"]
    assert [meta["content"] for meta in metas if meta.get("name") == "token-url"] == [url]
    policy = directives(response.headers["Content-Security-Policy"])
    assert policy["connect-src"] == "'self' https://site.example"


async def test_below_a_path_everything_of_it_is_there_too(start: Start, settings: Settings) -> None:
    client = await start(settings.model_copy(update={"base_path": "/chat"}))
    for address in page_addresses(await (await client.get("/chat/")).text()):
        assert (await client.get(f"/chat/{address}")).status == 200, address
    assert (await client.get("/")).status in (401, 404)


def test_no_file_of_the_page_writes_html_itself() -> None:
    """DOMPurify returns nodes, so no file needs an HTML sink, and there is no way around DOMPurify."""
    sinks = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function")
    for path in (web_dir() / "page").rglob("*.js"):
        assert not [sink for sink in sinks if sink in Path(path).read_text()], path.name
