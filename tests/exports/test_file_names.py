"""Names of files from titles: safe on every system, whole for people, and one line in a header."""

from __future__ import annotations

import pytest

from chat_api.exports.file_names import MOST_BYTES, attachment, safe_name


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Masala chai", "Masala chai.md"),
        ("../../etc/passwd", "etc passwd.md"),
        (".htaccess", "htaccess.md"),
        ('C:\\x\0y\r\nz?*|<>"', "C x y z.md"),
        ("a\u202egpj.exe", "a gpj.exe.md"),
        ("नमस्ते 👩‍👩‍👧", "नमस्ते 👩‍👩‍👧.md"),
        ("e\u0301", "é.md"),
        ("100% $HOME `id`", "100 HOME id.md"),
        ("con", "_con.md"),
        ("LPT1.txt", "_LPT1.txt.md"),
        ("console", "console.md"),
        ("  . -~ \u200d", "conversation.md"),
        ("", "conversation.md"),
        ("\ud800", "conversation.md"),
    ],
)
def test_a_name_is_safe(title: str, name: str) -> None:
    assert safe_name(title, "md") == name


@pytest.mark.parametrize("title", ["x" * 500, "é" * 500, "🥟" * 500])
def test_a_long_title_is_cut_between_characters(title: str) -> None:
    name = safe_name(title, "md")
    assert MOST_BYTES - 4 < len(name.removesuffix(".md").encode()) <= MOST_BYTES
    assert set(name.removesuffix(".md")) == {title[0]}


def test_a_header_has_the_name_twice() -> None:
    assert attachment("Crème 🥟.md") == (
        "attachment; filename=\"Creme.md\"; filename*=UTF-8''Cr%C3%A8me%20%F0%9F%A5%9F.md"
    )
    assert attachment("नमस्ते.md").startswith('attachment; filename="conversation.md"; ')
