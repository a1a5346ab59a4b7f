"""Private parts of libraries stand in chat_api/libraries, under an upper bound of the library's version."""

from __future__ import annotations

import ast
import configparser
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "chat_api"

# What is used, by file. os._exit is public in all but its name: the standard library documents it.
USED = {
    ("dev/model/llama_server.py", "_exit"),
    ("serving/signals.py", "_exit"),
    ("libraries/aiohttp.py", "_request_count"),
    ("libraries/aiohttp.py", "_waiter"),
    ("libraries/aiohttp.py", "_make_server"),
    ("libraries/aiohttp.py", "_kwargs"),
    ("libraries/aiohttp.py", "_loop"),
    # A public argument's only type, in a package that is pinned to one minor release.
    ("tracing/tracing.py", "_StabilityMode"),
}
# Public names whose use is not: (name, where it may stand).
BENT = {"output_size": "libraries/aiohttp.py", "ValueClass": "libraries/prometheus.py"}
BOUNDS = {"aiohttp": "<3.15", "prometheus-client": "<0.27"}


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def uses(path: Path) -> Iterator[str]:
    """The private names of others that a module uses."""
    tree = ast.parse(path.read_text())
    own = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_set_on_self(node)}
    own |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    in_libraries = path.parent.name == "libraries"
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=value, attr=attr) if private(attr):
                if ast.unparse(value) not in ("self", "cls") or (in_libraries and attr not in own):
                    yield attr
            case ast.ImportFrom(names=names):
                yield from (name.name for name in names if private(name.name))


def own_names() -> set[str]:
    """Every name that chat_api gives an attribute, a method or a slot of its own."""
    names: set[str] = set()
    for _, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(attr=attr, ctx=ast.Store()) if is_set_on_self(node):
                    names.add(attr)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    names.add(name)
                case ast.AnnAssign(target=ast.Name(id=name)) | ast.Name(id=name, ctx=ast.Store()):
                    names.add(name)
    return names


def is_set_on_self(node: ast.Attribute) -> bool:
    return ast.unparse(node.value) == "self" and isinstance(node.ctx, ast.Store)


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), path


def test_private_parts_are_those_that_are_listed() -> None:
    assert {(place, name) for place, path in modules() for name in uses(path)} == USED


def test_no_inherited_private_part_is_used_elsewhere() -> None:
    """By `self`, by an override, or by its name as a text."""
    of_libraries = {name for place, name in USED if place.startswith("libraries/")}
    known = own_names() - of_libraries
    for place, path in modules():
        if place.startswith("libraries/"):
            continue
        nodes = list(ast.walk(ast.parse(path.read_text())))
        own = {node.attr for node in nodes if isinstance(node, ast.Attribute) and is_set_on_self(node)}
        found = set()
        for node in nodes:
            match node:
                case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=attr) if private(attr):
                    found |= {attr} - known - own
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    found |= {name} & of_libraries
                case ast.Constant(value=str(text)):
                    found |= {text} & of_libraries
        assert found == set(), place


def test_public_parts_that_are_bent_stand_beside_them() -> None:
    for place, path in modules():
        named = {
            node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)
        }
        assert {name for name in named & set(BENT) if BENT[name] != place} == set(), place


def test_each_of_these_libraries_has_an_upper_bound(checkout: Path) -> None:
    setup = configparser.ConfigParser()
    setup.read(checkout / "setup.cfg")
    required = setup["options"]["install_requires"].split()
    for library, bound in BOUNDS.items():
        [requirement] = [each for each in required if each.startswith(f"{library}>")]
        assert requirement.endswith(bound)
