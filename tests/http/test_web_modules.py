"""The modules of the page and of the client: who imports whom, and how long each module is."""

from __future__ import annotations

import re
from graphlib import TopologicalSorter
from importlib import resources
from pathlib import Path

WEB = Path(str(resources.files("chat_api"))) / "web"
MODULES = {
    path.relative_to(WEB).as_posix(): path.read_text()
    for path in sorted(WEB.rglob("*.js"))
    if "vendor" not in path.relative_to(WEB).parts
}
DOOR = "client.js"
SCRIPTS = {"page/main.js", "page/theme.js"}  # index.html runs these
LONGEST = 200  # lines; no module is exempt
STATEMENT = re.compile(r'^(?:import|export)\b(?:[^;"]*?\bfrom)?\s*"([^"]+)";', re.MULTILINE)
DYNAMIC = re.compile(r'\bawait import\("([^"]+)"\)')
EXPORT = re.compile(
    r"^export (?:async )?(?:class|function|const) (\w+)|^export \{ (.*?) \} from", re.MULTILINE
)


def resolve(name: str, specifier: str) -> str:
    """The path below web/ that a module's import means."""
    assert specifier.startswith(("./", "../")), f"{name} imports {specifier}"
    return (WEB / name).parent.joinpath(specifier).resolve().relative_to(WEB.resolve()).as_posix()


def imports(name: str) -> set[str]:
    """The static imports of a module."""
    return {resolve(name, specifier) for specifier in STATEMENT.findall(MODULES[name])}


def graph() -> dict[str, set[str]]:
    """Each module except vendored ones, with its imports."""
    return {name: {each for each in imports(name) if not each.startswith("vendor/")} for name in MODULES}


def room(name: str) -> str:
    """The folder of a module in page/; for others, the module itself."""
    folder, _, _ = name.rpartition("/")
    return folder if folder.startswith("page/") else name


def below(folder: str) -> set[str]:
    """The modules in a folder."""
    return {name for name in MODULES if name.startswith(f"{folder}/")}


def exported(name: str) -> set[str]:
    """The names that a module exports."""
    found = EXPORT.findall(MODULES[name])
    return {each for one, several in found for each in [one, *several.split(", ")] if each}


def test_every_import_is_seen_and_leads_to_a_file() -> None:
    assert below("client")
    for name, text in MODULES.items():
        statements = re.findall(r"^import\b.*|^export \{.*", text, re.MULTILINE)
        assert len(STATEMENT.findall(text)) == len(statements), name
        for specifier in STATEMENT.findall(text) + DYNAMIC.findall(text):
            assert (WEB / resolve(name, specifier)).is_file(), f"{name} imports {specifier}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    TopologicalSorter(graph()).prepare()  # raises CycleError


def test_no_room_of_the_page_imports_itself_by_way_of_others() -> None:
    rooms: dict[str, set[str]] = {}
    for name, imported in graph().items():
        rooms.setdefault(room(name), set()).update({room(each) for each in imported} - {room(name)})
    assert {"page/reader", "page/sidebar", "page/thread", "page/ui"} <= set(rooms)
    TopologicalSorter(rooms).prepare()


def test_client_works_without_the_page() -> None:
    for name in below("client"):
        assert imports(name) <= below("client"), name
    assert imports(DOOR) <= below("client")


def test_page_uses_the_client_by_its_door() -> None:
    for name in below("page"):
        assert not imports(name) & below("client"), name


def test_door_names_all_modules_behind_it_so_that_a_browser_fetches_them_at_once() -> None:
    assert imports(DOOR) == below("client")


def test_every_module_is_used() -> None:
    used = {each for name in MODULES for each in imports(name)} | SCRIPTS | {DOOR}
    assert set(MODULES) - used == set()
    without_door = {each for name in below("client") for each in imports(name)}
    named = re.findall(r'^(?:import|export) .* from "\./(client/.*?)";', MODULES[DOOR], re.MULTILINE)
    assert below("client") - without_door - set(named) == set()


def test_module_is_short_enough_to_be_read_at_once(checkout: Path) -> None:
    added = (checkout / "packages" / "client").rglob("*.js")
    lengths = {name: len(text.splitlines()) for name, text in MODULES.items()}
    lengths |= {str(path.relative_to(checkout)): len(path.read_text().splitlines()) for path in added}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_door_exports_what_the_types_declare() -> None:
    declared = set(re.findall(r"^export class (\w+)", (WEB / "client.d.ts").read_text(), re.MULTILINE))
    assert "ChatClient" in declared
    assert exported(DOOR) == declared


def test_address_of_the_client_is_no_asset_to_a_bundler() -> None:
    for name in [DOOR, *below("client")]:
        assert not re.search(r'new URL\(\s*["\'`].*import\.meta\.url', MODULES[name]), name
