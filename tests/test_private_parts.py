"""Private parts of libraries are used only in chat_api/libraries, with an upper bound on their versions."""

from __future__ import annotations

import ast
import configparser
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from tests.test_architecture import imports

PACKAGE = Path(__file__).parent.parent / "chat_api"
OURS = {"chat_api", *sys.stdlib_module_names}

# The private names in use, by file. os._exit is public: the standard library documents it.
USED = {
    ("dev/model/llama_server.py", "_exit"),
    ("serving/deadline.py", "_exit"),
    ("serving/signals.py", "_exit"),
    ("libraries/aiohttp.py", "_request_count"),
    ("libraries/aiohttp.py", "_waiter"),
    ("libraries/aiohttp.py", "_on_data_received"),
    ("libraries/aiohttp.py", "_make_server"),
    ("libraries/aiohttp.py", "_kwargs"),
    ("libraries/aiohttp.py", "_loop"),
    ("libraries/aiohttp.py", "_router"),
    ("libraries/aiosql.py", "__signature__"),
    ("libraries/asyncpg.py", "_dot_postgresql_path"),
    ("libraries/asyncpg.py", "_get_unique_id"),
    ("libraries/opentelemetry.py", "_StabilityMode"),
}
# Special attributes that the language documents, and the package's own `__version__`.
SPECIAL = {"__cause__", "__class__", "__doc__", "__excepthook__", "__file__", "__init__", "__module__"}
SPECIAL |= {"__name__", "__subclasses__", "__version__"}
SOCKETS_AND_STREAMS = {"transports/sse.py", "transports/websocket/socket.py"}
# Public names that aren't documented, as the last two parts of an expression.
UNDOCUMENTED = {
    # An event goes straight to the connection, in the call that appends it: `StreamResponse.write` and
    # `WebSocketResponse.send_str` would need a task for each reader, woken for each event. A wrapper in
    # libraries/ would cost a call for each event. tests/transports fails if aiohttp adds a layer in between.
    "transport.write": {
        *SOCKETS_AND_STREAMS,
        "http/middlewares.py",  # documented: aiohttp's own example of an `expect_handler`
        "inference/upstream.py",  # asyncio's, on the service's own protocol
    },
    "request.protocol": SOCKETS_AND_STREAMS,
    "protocol.writing_paused": SOCKETS_AND_STREAMS,
    "connection.drain": {"transports/sse.py"},
    "writer.drain": {"transports/websocket/socket.py"},
    "made.handler_cancellation": {"libraries/aiohttp.py"},
    "made.request_factory": {"libraries/aiohttp.py"},
    "made.request_handler": {"libraries/aiohttp.py"},
    "server.connections": {"libraries/aiohttp.py"},
    "connection.force_close": {"libraries/aiohttp.py"},
    "resource.add_prefix": {"libraries/aiohttp.py"},
    "router.index_resource": {"libraries/aiohttp.py"},
    "router.unindex_resource": {"libraries/aiohttp.py"},
    "values.ValueClass": {"libraries/prometheus.py"},
}
# Modules of libraries that their documentation names, or takes names from.
MODULES = {
    "aiocache.plugins",
    "aiohttp.abc",
    "opentelemetry.context",
    "opentelemetry.instrumentation.aiohttp_client",
    "opentelemetry.sdk.resources",
    "opentelemetry.sdk.trace",
    "opentelemetry.sdk.trace.export",
    "opentelemetry.sdk.trace.id_generator",
    "opentelemetry.trace",
    "opentelemetry.trace.propagation.tracecontext",
    "prometheus_client.multiprocess",
    "psycopg.rows",
    "pydantic.json_schema",
    "structlog.typing",
}
INNER_MODULES = {
    # The exceptions with which aiohttp refuses a request before there is a handler.
    "aiohttp.http_exceptions": {"observe/logs.py", "serving/connection.py"},
    "opentelemetry.instrumentation._semconv": {"libraries/opentelemetry.py"},
    "yoyo.backends": {"libraries/yoyo.py"},
    "yoyo.connections": {"libraries/yoyo.py"},
    "yoyo.exceptions": {"libraries/yoyo.py"},
    "yoyo.migrations": {"libraries/yoyo.py"},
}
# So much of these libraries is used beyond their documentation that only their wrappers may import them.
BEHIND_DOORS = {"aiosql", "yoyo"}
# Methods of libraries' classes that classes here replace or extend.
OVERRIDDEN = {
    "aiocache.plugins.BasePlugin.post_set": "access/tokens.py",
    "opentelemetry.sdk.trace.id_generator.RandomIdGenerator.generate_trace_id": "tracing/export.py",
    "aiohttp.web_urldispatcher.UrlDispatcher.resolve": "libraries/aiohttp.py",  # AbstractRouter documents it
    "pydantic_settings.main.BaseSettings.settings_customise_sources": "settings/sources.py",  # and in dev/
}
OVERRIDDEN_UNDOCUMENTED = {
    # asyncio's methods, but of aiohttp's connection.
    # asyncio calls these; aiohttp inherits them from asyncio.Protocol.
    "aiohttp.base_protocol.BaseProtocol.pause_writing": "serving/connection.py",
    "aiohttp.base_protocol.BaseProtocol.resume_writing": "serving/connection.py",
    "aiohttp.web_protocol.RequestHandler.connection_lost": "serving/connection.py",
    "aiohttp.web_protocol.RequestHandler.connection_made": "serving/connection.py",
    # The only place where a malformed request gets its response.
    "aiohttp.web_protocol.RequestHandler.handle_error": "serving/connection.py",
    "aiohttp.web_runner.AppRunner._make_server": "libraries/aiohttp.py",
    "aiohttp.web_ws.WebSocketResponse._on_data_received": "libraries/aiohttp.py",
    "asyncpg.connection.Connection._get_unique_id": "libraries/asyncpg.py",
    "yoyo.backends.base.DatabaseBackend.copy": "libraries/yoyo.py",
    "yoyo.backends.base.DatabaseBackend.get_log_data": "libraries/yoyo.py",
    "yoyo.backends.core.postgresql.PostgresqlBackend.connect": "libraries/yoyo.py",
}
# Attributes named by a text or a variable.
BY_TEXT = {
    ("libraries/aiosql.py", "getattr(loaded, name)"),  # the documented way to a query
    ("libraries/asyncpg.py", "getattr(self._loop, name)"),  # the event loop's documented methods
    # What the server reports, as attributes; a pooler may leave it out.
    ("postgres/connector.py", "getattr(connection.get_settings(), 'server_encoding', 'UTF8')"),
    ("settings/__init__.py", "getattr(reading, name)"),  # its own
    ("settings/proxies.py", "getattr(address, 'ipv4_mapped', None)"),  # the standard library's
}
# The next minor release, where the bound isn't that of every library (setup.cfg).
BOUNDS = {
    "aiohttp": "<3.15",
    "aiosql": "<15.1",
    "asyncpg": "<0.33",
    "opentelemetry-instrumentation-aiohttp-client": "<0.67",
    "prometheus-client": "<0.27",
    "yoyo-migrations": "<9.1",
}


def private(name: str) -> bool:
    if name.startswith("__") and name.endswith("__"):
        return name not in SPECIAL
    return name.startswith("_")


def uses(path: Path) -> Iterator[str]:
    """The private names of libraries that a module uses."""
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
    """Every attribute, method and slot name that chat_api defines itself."""
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
    """Through `self`, by an override, or by its name in a string."""
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


def found_anywhere(names: dict[str, set[str]]) -> dict[str, set[str]]:
    """Where expressions end in these two names, with or without an underscore before them."""
    found: dict[str, set[str]] = {name: set() for name in names}
    for place, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(value=ast.Attribute(attr=first) | ast.Name(id=first), attr=last):
                    name = f"{first.lstrip('_')}.{last}"
                    if name in found:
                        found[name].add(place)
    return found


def test_undocumented_parts_stand_where_they_are_listed() -> None:
    assert found_anywhere(UNDOCUMENTED) == UNDOCUMENTED


def test_modules_that_no_documentation_names_are_listed() -> None:
    found: dict[str, set[str]] = {}
    for place, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.ImportFrom(module=str(name)) | ast.Import(names=[ast.alias(name=name)]):
                    library, _, inner = name.partition(".")
                    if inner and library not in OURS and name not in MODULES:
                        found.setdefault(name, set()).add(place)
    assert found == INNER_MODULES


def test_what_is_behind_a_door_is_imported_nowhere_else() -> None:
    for place, path in modules():
        if not place.startswith("libraries/"):
            assert {name.partition(".")[0] for name in imports(path)} & BEHIND_DOORS == set(), place


def test_methods_of_libraries_that_are_overridden_are_listed() -> None:
    found = {}
    for place, _ in modules():
        if place == "__main__.py":  # it runs
            continue
        name = f"chat_api.{place.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}"
        for kind in list(vars(importlib.import_module(name)).values()):
            if isinstance(kind, type) and kind.__module__ == name:
                found |= dict.fromkeys(overridden(kind), place)
    assert found == {**OVERRIDDEN, **OVERRIDDEN_UNDOCUMENTED}


def overridden(kind: type) -> Iterator[str]:
    """The methods of libraries that a class has in its own way; the language's own ones don't count."""
    for name, value in list(vars(kind).items()):
        if callable(getattr(value, "__func__", value)) and not (
            name.startswith("__") and name.endswith("__")
        ):
            for base in kind.__mro__[1:]:
                if base.__module__.partition(".")[0] not in OURS and name in vars(base):
                    yield f"{base.__module__}.{base.__qualname__}.{name}"
                    break


def test_attributes_named_by_a_text_are_listed() -> None:
    named = {
        (place, ast.unparse(node))
        for place, path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func)
        in ("getattr", "setattr", "hasattr", "delattr", "attrgetter", "methodcaller")
    }
    assert named == BY_TEXT


def test_each_of_these_libraries_has_an_upper_bound(checkout: Path) -> None:
    setup = configparser.ConfigParser()
    setup.read(checkout / "setup.cfg")
    texts = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    required = [Requirement(line) for text in texts for line in text.splitlines() if line]
    lines = (checkout / "constraints.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if not line.startswith("#")]
    pins = {each.name: str(each.specifier).removeprefix("==") for each in pinned}
    for library, bound in BOUNDS.items():
        specifiers = [each.specifier for each in required if each.name == library]
        assert specifiers, library
        for specifier in specifiers:
            assert bound in str(specifier).split(","), library
        major, minor, *_ = Version(pins[library]).release
        assert bound == f"<{major}.{minor + 1}", library
