"""The page's libraries are those that were reviewed, and anybody can see which they are."""

from __future__ import annotations

from tools.vendored import FOLDER, SUMS, digests, packages, sums

OWN = {"README.md", "vendor.json", SUMS}


def test_each_file_is_what_was_fetched() -> None:
    assert digests() == sums()


def test_nothing_lies_there_unlisted() -> None:
    assert {path.name for path in FOLDER.iterdir()} == OWN | set(digests())


def test_a_file_has_its_version_in_its_name_for_caches_keep_it_for_ever() -> None:
    for package in packages().values():
        assert all(f"-{package['version']}." in name for name in package["files"].values())


def test_each_library_is_listed_with_its_licence_and_brings_its_text() -> None:
    table = (FOLDER / "README.md").read_text()
    for package in packages().values():
        (row,) = (line for line in table.splitlines() if package["homepage"] in line)
        assert package["version"] in row
        assert package["licence"].replace(" OR ", " or ") in row
        assert [name for name in package["files"].values() if name.endswith(".LICENSE.txt")]


def test_the_page_imports_each_library_from_one_place() -> None:
    scripts = {path: path.read_text() for path in (FOLDER.parent / "page").rglob("*.js")}
    assert [path.name for path, text in scripts.items() if "/vendor/" in text] == ["libraries.js"]
    imported = next(text for path, text in scripts.items() if path.name == "libraries.js")
    page = (FOLDER.parent / "index.html").read_text()
    for name in digests():
        if name.endswith(".js"):
            assert name in imported
            assert (name in page) == (f'import("../../vendor/{name}")' not in imported)
