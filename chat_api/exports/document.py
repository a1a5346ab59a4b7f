"""One conversation as one JSON object: the lines of its export, in lists."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable

from chat_api.exports.lines import FORMAT, NAMES, kind_of


async def as_json(lines: AsyncIterable[str]) -> AsyncGenerator[str, None]:
    """`{"format", "conversation", "messages", "queued_messages", "generations", "usage"}`, piece by piece.

    `lines` are those of one conversation, itself first, and of its usage, in the order of NAMES.
    """
    _, *waiting = NAMES
    is_first = True
    async for line in lines:
        kind = kind_of(line)
        value = "{" + line[len(f'{{"type":"{kind}",') :]
        if kind == "conversation":
            yield f'{{"format":{FORMAT},"conversation":{value},"{NAMES[waiting[0]]}":['
            continue
        while waiting[0] != kind:
            waiting.pop(0)
            is_first = True
            yield f'],"{NAMES[waiting[0]]}":['
        yield value if is_first else f",{value}"
        is_first = False
    for kind in waiting[1:]:
        yield f'],"{NAMES[kind]}":['
    yield "]}"
