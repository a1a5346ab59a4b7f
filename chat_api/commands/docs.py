"""`chat-api docs`: the pages and the scripts for DBAs, which an installed package carries, too."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from pathlib import Path
from typing import Any

from chat_api.commands.errors import MisusedError
from chat_api.commands.output import print_result
from chat_api.folders import docs_dir, scripts_dir, sql_dir


def add_docs_command(commands: Any) -> None:
    """Add `docs` to argparse's subparsers."""
    docs = commands.add_parser(
        "docs",
        help="print a page of the documentation, or a script for psql",
        description="Print a page as it is, or a script: `chat-api docs deploy/postgresql/row-security.sql | "
        'psql "$DATABASE_URL"`. Without a name, list all: the name, and what it is about.',
    )
    docs.add_argument(
        "page",
        nargs="?",
        metavar="PAGE",
        help="a name from the list, such as operations/runbook, or a path as pages and error messages give "
        "it, such as docs/settings.md",
    )
    docs.set_defaults(command=docs_command)


def docs_command(options: argparse.Namespace) -> int:
    """Print a page, or the list. Returns the exit status. Raises MisusedError, FailedError."""
    return print_result(_list if options.page is None else _show, options)


def _list(_: argparse.Namespace) -> int:
    pages = _pages()
    width = max(map(len, pages))
    for name, path in pages.items():
        sys.stdout.write(f"{name:<{width}}  {_about(path)}\n")
    return 0


def _show(options: argparse.Namespace) -> int:
    pages = _pages()
    name = options.page.removeprefix("./").removeprefix("docs/").removesuffix(".md")
    if name not in pages:
        raise MisusedError(_unknown(options.page, name, list(pages)))
    sys.stdout.flush()
    sys.stdout.buffer.write(pages[name].read_bytes())
    return 0


def _pages() -> dict[str, Path]:
    """All pages and scripts by their names: paths without `docs/` and `.md`, in the order of the list."""
    docs, scripts, queries = docs_dir(), scripts_dir(), sql_dir() / "README.md"
    pages = {path.relative_to(docs).as_posix().removesuffix(".md"): path for path in docs.rglob("*.md")}
    pages[f"{queries.parent.name}/{queries.stem}"] = queries
    for path in scripts.rglob("*.sql"):
        pages[f"deploy/postgresql/{path.relative_to(scripts).as_posix()}"] = path
    return dict(sorted(pages.items(), key=lambda page: (page[1].suffix, page[0])))


def _about(path: Path) -> str:
    """A page's title, or the first sentence of a script's comment."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text.partition("\n")[0].removeprefix("# ")
    comment = re.match(r"(?:--.*\n)+", text)
    words = " ".join(re.sub("^--", "", comment[0], flags=re.MULTILINE).split()) if comment else ""
    return re.split(r"(?<=\.) ", words, maxsplit=1)[0]


def _unknown(given: str, name: str, names: list[str]) -> str:
    # `runbook`, `operation/runbook` and `runbok` all mean operations/runbook.
    last = {each: each.rpartition("/")[2] for each in names}
    wanted = name.rpartition("/")[2]
    close = difflib.get_close_matches(wanted, set(last.values()), n=3, cutoff=0.6)
    near = [each for part in close for each in names if last[each] == part]
    near = near or [each for each in names if each.startswith(f"{name}/")]
    near = near or difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near[:3])}?" if near else "`chat-api docs` lists all"
    return f"there is no page {given!r}; {hint}"
