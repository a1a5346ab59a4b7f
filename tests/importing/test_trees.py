"""Whatever the source's tree is like: the path that it shows is shown, beside the versions that it has."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tests.conftest import Client
from tests.importing.conftest import Bring


def grown(chance: random.Random) -> tuple[dict[str, Any], list[str], dict[str, list[str]]]:
    """A chat of Open WebUI's with a random tree: the chat, the path that is shown, the children of each."""
    parents: dict[str, str | None] = {}
    for number in range(chance.randint(1, 40)):
        parents[f"n{number}"] = chance.choice([None, *parents][-6:])
    below: dict[str, list[str]] = {}
    for key, parent in parents.items():
        below.setdefault(parent or "", []).append(key)
    for children in below.values():
        chance.shuffle(children)
    current = chance.choice(list(parents))
    path = [current]
    while (above := parents[path[0]]) is not None:
        path.insert(0, above)
    while path[-1] in below:
        path.append(below[path[-1]][-1])
    keys = list(parents)
    chance.shuffle(keys)  # a parent may stand behind its children
    messages = {
        key: {"role": "user", "content": key, "parentId": parents[key], "childrenIds": below.get(key, [])}
        for key in keys
    }
    roots = [key for key in keys if parents[key] is None]
    below[""] = roots  # nothing else says their order
    return {"id": "t", "chat": {"history": {"currentId": current, "messages": messages}}}, path, below


@pytest.mark.parametrize("seed", range(8))
async def test_the_path_and_the_versions_beside_it_are_the_sources(
    bring: Bring, client: Client, user: dict[str, str], seed: int
) -> None:
    chat, path, below = grown(random.Random(seed))
    report = await bring(json.dumps([chat]).encode())
    assert report["messages"] == {"added": len(chat["chat"]["history"]["messages"]), "left_out": 0}
    listed = await (await client.get("/api/conversations", headers=user)).json()
    address = f"/api/conversations/{listed['items'][0]['id']}"
    shown = (await (await client.get(address, headers=user)).json())["messages"]
    assert [each["content"] for each in shown] == path
    for above, each in zip([None, *shown], shown, strict=False):
        assert each["parent_id"] == (above and above["id"])
        children = below["" if above is None else above["content"]]
        index = children.index(each["content"])
        siblings = each["siblings"]
        assert (siblings and (siblings["index"], len(siblings["ids"]))) == (
            (index, len(children)) if len(children) > 1 else None
        )
        for other, key in zip(siblings["ids"] if siblings else (), children, strict=False):
            response = await client.put(address, json={"active_message_id": other}, headers=user)
            assert response.status == 200
            now = (await (await client.get(address, headers=user)).json())["messages"]
            assert now[shown.index(each)]["content"] == key
