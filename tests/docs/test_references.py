"""Every reference leads somewhere: links of pages, and paths in comments, docstrings and command output."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r'\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"')
FOLDERS = r"(?:\.ci|bench|chat_api|deploy|docs|migrations|packages|sql|tests|tools)"
PATH = re.compile(rf"(?<![\w./$-]){FOLDERS}/(?:[\w.*-]+/)*[\w.*-]*[\w*]?|(?<![\w./-])[A-Z]+\.md\b")
SECTION = re.compile(r"(docs/[\w/-]+\.md),? sections? (\d)(?:(?:,| and) (\d))?")
COMMENT = re.compile(r"(?:^|\s)(?:#|--|//|/?\*+)\s(.*)", re.MULTILINE)
SUFFIXES = {".conf", ".css", ".example", ".js", ".service", ".sh", ".sql", ".toml", ".ts", ".yaml", ".yml"}
COMMENTED = SUFFIXES | {"Dockerfile", "MANIFEST.in", "Makefile", "run", "setup.cfg"}


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """The files that git tracks; without git (an unpacked sdist), all files but generated ones."""
    root = Path(__file__).parents[2]
    git = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (root / ".git").exists():
        names = subprocess.run(git, capture_output=True, check=True, text=True).stdout.split("\0")
        return [root / name for name in names if name and (root / name).is_file()]
    made = {"build", "dist"}
    files = (path for path in root.rglob("*") if path.is_file())
    return [path for path in files if not is_made(path.relative_to(root), made)]


def is_made(path: Path, made: set[str]) -> bool:
    return any(part in made or (part.startswith(".") and part != ".ci") for part in path.parts)


def test_the_readme_has_at_most_200_lines(checkout: Path) -> None:
    assert len((checkout / "README.md").read_text().splitlines()) <= 200


def test_every_link_of_a_page_leads_somewhere(tracked: list[Path], checkout: Path) -> None:
    pages = [path for path in tracked if path.suffix == ".md"]
    assert checkout / "README.md" in pages
    dead = []
    for page in pages:
        for found in LINK.finditer(re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text()))):
            link = found[1] or found[2]
            path, _, heading = link.partition("#")
            target = page.parent / path if path else page
            if ":" not in link and not (target.exists() and (not heading or heading in headings(target))):
                dead.append(f"{page.relative_to(checkout)}: {link}")
    assert dead == []


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them: of two equal ones, the second has a number."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
    seen: Counter[str] = Counter()
    for slug in slugs:
        seen[slug] += 1
    return {f"{slug}-{again}" if again else slug for slug in seen for again in range(seen[slug])}


def test_every_path_in_a_comment_or_docstring_is_one(tracked: list[Path], checkout: Path) -> None:
    dead = {
        f"{file.relative_to(checkout)}: {path}"
        for file in tracked
        for text in remarks(file, checkout)
        for path in PATH.findall(text)
        if not leads_somewhere(path, file, checkout)
    }
    assert sorted(dead) == []


def test_every_section_that_a_comment_or_docstring_names_is_one(tracked: list[Path], checkout: Path) -> None:
    named, dead = 0, []
    for file in tracked:
        for text in remarks(file, checkout):
            for page, *numbers in SECTION.findall(text):
                named += 1
                titles = (checkout / page).read_text()
                dead += [
                    f"{file.relative_to(checkout)}: {page} section {number}"
                    for number in numbers
                    if number and not re.search(rf"^## {number}\. ", titles, re.MULTILINE)
                ]
    assert named >= 15
    assert dead == []


def test_no_page_is_named_that_is_not_in_the_tree(tracked: list[Path], checkout: Path) -> None:
    """The contract and the design are named by their paths, and the tests above follow those."""
    loose = {
        str(file.relative_to(checkout))
        for file in tracked
        for text in remarks(file, checkout)
        if re.search(r"\b(?:CONTRACT|DESIGN)\b", text)
    }
    assert sorted(loose) == []


def leads_somewhere(path: str, file: Path, checkout: Path) -> bool:
    """Whether a path exists from the root; a page in capitals may also be beside the file."""
    places = [checkout] if "/" in path else [checkout, file.parent]
    return any(any(place.glob(path.rstrip("./"))) for place in places)


def remarks(file: Path, checkout: Path) -> Iterator[str]:
    """A file's texts for people: comments and docstrings; for the service itself, all other strings, too."""
    if file.suffix == ".py":
        source = file.read_text()
        is_service = file.relative_to(checkout).parts[0] == "chat_api"
        yield from comments(source)
        yield from strings(source) if is_service else docstrings(source)
    elif "vendor" not in file.parts and (file.suffix in COMMENTED or file.name in COMMENTED):
        yield from (found[1] for found in COMMENT.finditer(file.read_text()))


def comments(source: str) -> Iterator[str]:
    """A file's comments as one text, because a reference may continue on the next line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    yield " ".join(token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT)


def strings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield " ".join(node.value.split())


def docstrings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield " ".join((ast.get_docstring(node) or "").split())
