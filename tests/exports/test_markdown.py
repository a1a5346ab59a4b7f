"""A conversation as Markdown: nothing that a message opens swallows what comes after it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chat_api.exports.markdown import as_markdown

HEAD = {
    "type": "conversation",
    "title": "Masala chai",
    "model_tag": "default",
    "created_at": "2026-11-24T09:00:00.123456+00:00",
    "instructions": None,
}
SAID = {
    "type": "message",
    "role": "assistant",
    "content": "Boil water.",
    "model_tag": "d20",
    "created_at": "2026-11-24T09:05:00.123456+00:00",
    "finish_reason": "stop",
    "reasoning": None,
    "tool_calls": None,
    "tool_call_id": None,
    "is_active": True,
}


def markdown(*messages: dict[str, Any], **head: Any) -> str:
    """The Markdown of a conversation with these messages, as changes of SAID."""

    async def lines() -> AsyncIterator[str]:
        yield json.dumps(HEAD | head, separators=(",", ":"))
        for message in messages:
            yield json.dumps(SAID | message, separators=(",", ":"))
        yield '{"type":"generation"}'

    async def joined() -> str:
        return "".join([text async for text in as_markdown(lines())])

    return asyncio.run(joined())


def test_a_whole_one() -> None:
    question = {"role": "user", "content": "How is\nchai made?", "model_tag": "", "finish_reason": None}
    call = {"id": "c1", "name": "weather", "arguments": '{"city": "पुणे"}'}
    answer = {"reasoning": "They ask\n\nfor a recipe.", "tool_calls": [call], "finish_reason": "tool_calls"}
    result = {"role": "tool", "content": "31°", "tool_call_id": "c1", "model_tag": "", "finish_reason": None}
    cut = {"content": "", "finish_reason": "length", "model_tag": "a_b"}
    hidden = {"content": "another version", "is_active": False}
    assert (
        markdown(question, answer, hidden, result, cut, instructions="Be <b>brief</b>.")
        == """\
# Masala chai

- Begun: 2026-11-24 09:00:00 UTC
- Model: default

**Instructions**

> Be \\<b>brief\\</b>.

## User

*2026-11-24 09:05:00 UTC*

> How is
> chai made?

## Assistant (d20)

*2026-11-24 09:05:00 UTC*

<details>
<summary>Thinking</summary>

> They ask
>
> for a recipe.

</details>

> Boil water.

Tool call:

```json
{
  "id": "c1",
  "name": "weather",
  "arguments": {"city": "पुणे"}
}
```

## Tool result

*2026-11-24 09:05:00 UTC*

Of the call c1:

```
31°
```

## Assistant (a\\_b)

*2026-11-24 09:05:00 UTC, ended by: length*
"""
    )


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("```py\nprint('<b>')\n", "> ```py\n> print('<b>')\n>\n"),  # a block that was cut
        ("~~~\n<a>\n```\n<b>\n~~~\n<c>", "> ~~~\n> <a>\n> ```\n> <b>\n> ~~~\n> \\<c>\n"),
        ("- ```\n  <a>\n  ```\n<b>", "> - ```\n>   <a>\n>   ```\n> \\<b>\n"),
        ("<!-- <details><script>\n</p>", "> \\<!-- \\<details>\\<script>\n> \\</p>\n"),
        ("1 < 2, <3 and <https://x.y>", "> 1 < 2, <3 and <https://x.y>\n"),
        ("`<b>` ``<i>`<u>`` `<s>", "> `<b>` ``<i>`<u>`` `\\<s>\n"),
        ("# No\r\n---\r## User", "> # No\n> ---\n> ## User\n"),
        ("    indented\n\n> quoted", ">     indented\n>\n> > quoted\n"),
    ],
)
def test_what_is_not_closed_ends_with_its_message(content: str, shown: str) -> None:
    for text in (markdown({"content": content}), markdown({"content": "", "reasoning": content})):
        assert shown in text
        outside = [line for line in text.splitlines() if not line.startswith(">")]
        assert [line for line in outside if line.startswith("#")] == ["# Masala chai", "## Assistant (d20)"]


def test_a_title_stays_a_line() -> None:
    titled = markdown(title="# <b>\n\n`x` [y](z) *w*")
    assert titled.startswith("# \\# \\<b\\> \\`x\\` \\[y\\](z) \\*w\\*\n\n")


@pytest.mark.parametrize("text", ["``` \n````", "`" * 50, ""])
def test_a_result_ends_no_block(text: str) -> None:
    fence = "`" * (max(map(len, text.split())) + 1 if text else 3)
    assert markdown({"role": "tool", "content": text}).endswith(f"{fence}\n{text}\n{fence}\n")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ('{"a', '"{\\"a"'),  # cut off
        ('{"n": 12345678901234567890123}', '{"n": 12345678901234567890123}'),
        ("[" * 5000, "[[["),
        (None, "null"),
    ],
)
def test_any_call_is_shown(arguments: str | None, shown: str) -> None:
    assert f'"arguments": {shown}' in markdown({"tool_calls": [{"arguments": arguments}]}).replace('"[', "[")
    assert "Tool call:\n\n```json\n7\n```\n" in markdown({"tool_calls": [7]})


def test_half_a_surrogate_pair_is_no_failure() -> None:
    assert '"id": "\\ud800"' in markdown({"tool_calls": [{"id": "\ud800", "arguments": "{}"}]})


@pytest.mark.parametrize(
    "text", ["`" * 300_000, "`` ` " * 60_000, "<a" * 150_000, "- " * 150_000, "*<" * 150_000, "~" * 300_000]
)
def test_no_text_takes_long(text: str) -> None:
    began = time.process_time()
    assert markdown({"content": f"<b> {text}"}, title=text)
    assert markdown({"content": text})
    assert time.process_time() - began < 2
