"""The page with several models: which one answers, which are away, and what becomes of one that is gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Locator, Page, Route, expect

from chat_api.settings import Settings
from tests.browser.chat_page import ChatPage, open_tab
from tests.browser.conftest import Console, Served
from tests.support.model_server import ModelServer
from tests.support.models_file import ModelsFile
from tests.support.processes import free_port

AWAY = "Away: none of its servers answers just now."
GONE = 'The model "old" is no longer offered. Choose another one for this conversation, such as "Kitchen 8B".'


@pytest.fixture
def file(tmp_path: Path, model: ModelServer) -> ModelsFile:
    """Four models, one of which is away."""
    return ModelsFile(
        tmp_path / "models.toml",
        servers={
            "near": {"url": model.url, "protocol": "nanochat"},
            "far": {"url": f"http://127.0.0.1:{free_port()}", "protocol": "nanochat"},
        },
        models={
            "kitchen": {
                "name": "Kitchen 8B",
                "description": "Quick, for recipes.",
                "servers": ["near"],
            },
            "deep": {"name": "Deep Thought", "description": "Slow and wise.", "servers": ["far"]},
            "org/plain.gguf": {"servers": ["near"]},
            "old": {"name": "Old Faithful", "servers": ["near"]},
        },
    )


@pytest.fixture
def settings(settings: Settings, file: ModelsFile) -> Settings:
    return file.settings(settings)


@pytest.fixture
async def chat(context: BrowserContext, service: Served, file: ModelsFile, console: Console) -> ChatPage:
    file.client = service.client
    return await open_tab(context, service.address, service.token(), service.model)


def entry(chat: ChatPage, name: str) -> Locator:
    return chat.page.get_by_role("menuitemradio", name=name, exact=True)


async def choose(chat: ChatPage, name: str, now: str = "Kitchen 8B") -> None:
    await chat.button(f"Model: {now}").click()
    await entry(chat, name).click()
    await expect(chat.button(f"Model: {name}")).to_be_visible()


async def lose(file: ModelsFile, tag: str = "old") -> None:
    """Take a model out of the file."""
    del file.models[tag]
    file.write()


async def test_the_menu_has_each_models_name_and_description_and_says_which_is_away(chat: ChatPage) -> None:
    await chat.button("Model: Kitchen 8B").click()
    entries = chat.page.get_by_role("menuitemradio")
    await expect(entries).to_have_count(4)
    await expect(entry(chat, "Kitchen 8B")).to_have_accessible_description("Quick, for recipes.")
    await expect(entry(chat, "Kitchen 8B")).to_have_attribute("aria-checked", "true")
    await expect(entry(chat, "Kitchen 8B")).not_to_have_attribute("aria-disabled", "true")
    away = entry(chat, "Deep Thought")
    await expect(away).to_have_accessible_description(f"Slow and wise. {AWAY}")
    await expect(away.get_by_text(AWAY)).to_be_visible()
    await expect(away).to_have_attribute("aria-disabled", "true")
    await expect(entry(chat, "plain")).to_have_accessible_description("")
    # These are the operator's models, none that the server could be asked to load.
    await expect(chat.page.get_by_role("menuitem")).to_have_count(0)
    await away.click(force=True)
    await expect(away).to_be_visible()
    await chat.page.keyboard.press("Escape")
    await expect(chat.button("Model: Kitchen 8B")).to_be_focused()


async def test_by_keyboard_one_that_is_away_is_read_and_not_chosen(chat: ChatPage) -> None:
    await chat.button("Model: Kitchen 8B").focus()
    await chat.page.keyboard.press("Enter")
    await expect(entry(chat, "Kitchen 8B")).to_be_focused()
    await chat.page.keyboard.press("ArrowDown")
    await expect(entry(chat, "Deep Thought")).to_be_focused()
    await chat.page.keyboard.press("Enter")
    await expect(entry(chat, "Deep Thought")).to_be_focused()
    await chat.page.keyboard.press("End")
    await chat.page.keyboard.press("Enter")
    await expect(chat.button("Model: Old Faithful")).to_be_visible()
    await chat.exchange("Hi", "Hello.")
    await expect(chat.answers.first).to_contain_text("Old Faithful")
    await chat.page.reload()
    await expect(chat.button("Model: Old Faithful")).to_be_visible()


async def test_the_page_says_that_a_conversations_model_is_away(
    chat: ChatPage, file: ModelsFile, service: Served
) -> None:
    await choose(chat, "Old Faithful")
    await chat.exchange("Hi", "Hello.")
    file.models["old"]["servers"] = ["far"]
    file.write()
    await chat.page.reload()
    button = chat.button("Model: Old Faithful away")
    await expect(button).to_have_attribute("title", f"Old Faithful. {AWAY}")
    await button.click()
    await expect(entry(chat, "Old Faithful")).to_be_focused()
    await expect(entry(chat, "Old Faithful")).to_have_accessible_description(AWAY)


@pytest.mark.usefixtures("reader_transport")
async def test_a_message_to_a_model_that_is_gone_is_answered_by_the_default_one_if_the_reader_wants(
    chat: ChatPage, file: ModelsFile, console: Console
) -> None:
    console.allow("status of 409")
    await choose(chat, "Old Faithful")
    await chat.exchange("Hi", "Hello.")
    await lose(file)
    await chat.send("And now?")
    await expect(chat.questions.last).to_contain_text(GONE)
    await expect(chat.button("Send again")).to_have_count(0)
    await chat.button("Answer with Kitchen 8B").click()
    (await chat.model.call()).finish("Well.")
    await expect(chat.said).to_have_text(["Hello.", "Well."])
    await expect(chat.button("Model: Kitchen 8B")).to_be_visible()
    await expect(chat.page.locator(".notice:not([hidden])")).to_have_count(0)
    await chat.page.reload()
    await expect(chat.said).to_have_text(["Hello.", "Well."])
    await expect(chat.asked).to_have_text(["Hi", "And now?"])
    await expect(chat.button("Model: Kitchen 8B")).to_be_visible()


async def test_if_the_model_cannot_be_changed_the_message_stands_there_and_is_sent_later(
    chat: ChatPage, file: ModelsFile, console: Console
) -> None:
    console.allow("status of 409|status of 503")
    await choose(chat, "Old Faithful")
    await chat.exchange("Hi", "Hello.")
    await lose(file)
    await chat.send("And now?")
    offer = chat.button("Answer with Kitchen 8B")
    await expect(offer).to_be_visible()

    async def refuse(route: Route) -> None:
        if route.request.method == "PUT":
            await route.fulfill(status=503, json={"code": "database_unavailable", "detail": "Not now."})
        else:
            await route.continue_()

    await chat.page.route("**/api/conversations/*", refuse)
    await offer.click()
    await expect(chat.questions.last).to_contain_text("Not now.")
    await chat.page.unroute("**/api/conversations/*")
    await chat.button("Send again").click()
    await chat.button("Answer with Kitchen 8B").click()
    (await chat.model.call()).finish("Well.")
    await expect(chat.said).to_have_text(["Hello.", "Well."])
    await expect(chat.asked).to_have_text(["Hi", "And now?"])


async def test_an_answer_is_done_again_by_the_default_model(
    chat: ChatPage, file: ModelsFile, console: Console
) -> None:
    console.allow("status of 409")
    await choose(chat, "Old Faithful")
    await chat.exchange("Hi", "Hello.")
    await lose(file)
    await chat.answers.last.hover()
    await chat.button("Regenerate the answer").click()
    await expect(chat.answers.last).to_contain_text(GONE)
    await expect(chat.said).to_have_text(["Hello."])
    await chat.button("Answer with Kitchen 8B").click()
    (await chat.model.call()).finish("Again.")
    await expect(chat.said).to_have_text(["Again."])
    await expect(chat.answers.last).to_contain_text("2/2")


async def test_an_answer_that_was_cut_goes_on_with_the_default_model(
    chat: ChatPage, file: ModelsFile, console: Console
) -> None:
    console.allow("status of 409")
    await choose(chat, "Old Faithful")
    call = await chat.ask("Hi", "One,")
    await expect(chat.said).to_have_text(["One,"])
    await chat.button("Stop").click()
    await call.closed.wait()
    await lose(file)
    await chat.button("Continue").click()
    await expect(chat.answers.last).to_contain_text(GONE)
    await expect(chat.said).to_have_text(["One,"])
    await chat.button("Answer with Kitchen 8B").click()
    (await chat.model.call()).finish(" two.")
    await expect(chat.said).to_have_text(["One, two."])


async def test_an_edit_is_in_its_field_until_the_default_model_answers_it(
    chat: ChatPage, file: ModelsFile, console: Console
) -> None:
    console.allow("status of 409")
    await choose(chat, "Old Faithful")
    await chat.exchange("Hi", "Hello.")
    await lose(file)
    await chat.questions.last.hover()
    await chat.button("Edit your message").click()
    field = chat.page.get_by_label("Your message", exact=True)
    await field.fill("Good day")
    await field.press("Enter")
    await expect(chat.questions.last).to_contain_text(GONE)
    await expect(field).to_have_value("Good day")
    await chat.button("Answer with Kitchen 8B").click()
    (await chat.model.call()).finish("Good day to you.")
    await expect(chat.asked).to_have_text(["Good day"])
    await expect(chat.said).to_have_text(["Good day to you."])
    await expect(chat.page.locator("#toasts")).to_be_empty()


async def test_a_message_that_was_to_wait_returns_to_the_box_with_the_way_out(
    chat: ChatPage, file: ModelsFile, console: Console
) -> None:
    console.allow("status of 409")
    await choose(chat, "Old Faithful")
    call = await chat.ask("Hi", "He")
    await expect(chat.said).to_have_text(["He"])
    await lose(file)
    await chat.send("Later")
    await expect(chat.page.locator("#toasts")).to_contain_text(GONE)
    await expect(chat.prompt).to_have_value("Later")
    call.finish("llo.")
    await chat.idle()
    await chat.button("Answer with Kitchen 8B").click()
    await expect(chat.button("Model: Kitchen 8B")).to_be_visible()
    await chat.exchange("Later", "Now.")
    await expect(chat.said).to_have_text(["Hello.", "Now."])


async def test_a_new_conversation_with_a_model_that_is_gone_by_then(
    chat: ChatPage, file: ModelsFile, console: Console
) -> None:
    console.allow("status of 422")
    await choose(chat, "Old Faithful")
    await lose(file)
    await chat.send("Hi")
    await expect(chat.questions.last).to_contain_text("This model isn't offered.")
    await chat.button("Answer with the default model").click()
    (await chat.model.call()).finish("Hello.")
    await expect(chat.said).to_have_text(["Hello."])
    await expect(chat.asked).to_have_text(["Hi"])
    await expect(chat.rows).to_have_count(1)


async def test_the_menu_of_one_server_is_as_it_was(page: Page, chat: ChatPage, file: ModelsFile) -> None:
    """Names alone: nothing is said of them, and they may be loaded."""
    await chat.page.route(
        "**/api/models",
        lambda route: route.fulfill(json={"current_model": "m1", "models": [{"tag": "m1"}, "m2"]}),
    )
    await chat.page.reload()
    await chat.button("Model: m1").click()
    await expect(entry(chat, "m2")).to_be_visible()
    await expect(chat.page.get_by_role("menuitem", name="Load m2 on the server")).to_be_visible()
    await expect(chat.page.locator(".menu small")).to_have_count(0)
