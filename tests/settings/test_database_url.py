"""A database URL means the same to asyncpg and to psycopg, and its password is never shown."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from chat_api.settings.database_url import Dsn, parse_dsn

WRITABLE = {"target_session_attrs": "read-write"}
FORMS = {
    "postgresql+asyncpg://localhost/chat": {"host": "localhost", "dbname": "chat"},
    "postgresql://localhost/chat": {"host": "localhost", "dbname": "chat"},
    "postgres://localhost/chat": {"host": "localhost", "dbname": "chat"},
    " postgresql://localhost/chat\n": {"host": "localhost", "dbname": "chat"},
    "postgresql://": {},
    "postgresql:///chat": {"dbname": "chat"},
    "postgresql://me@db:6432/chat": {"user": "me", "host": "db", "port": "6432", "dbname": "chat"},
    "postgresql://me:p%40ss%2F%3A%23%20%25@db/chat": {
        "user": "me",
        "password": "p@ss/:# %",
        "host": "db",
        "dbname": "chat",
    },
    "postgresql://me:p@ss@db/chat": {"user": "me", "password": "p@ss", "host": "db", "dbname": "chat"},
    "postgresql://m%C3%BCller@db/gr%C3%BC%C3%9Fe": {"user": "müller", "host": "db", "dbname": "grüße"},
    "postgresql://[::1]:5433/chat": {"host": "::1", "port": "5433", "dbname": "chat"},
    "postgresql:///chat?host=/run/postgresql": {"host": "/run/postgresql", "dbname": "chat"},
    "postgresql://me@/chat?host=/tmp/a%20b&port=5433": {
        "user": "me",
        "host": "/tmp/a b",
        "port": "5433",
        "dbname": "chat",
    },
    "postgresql://%2Frun%2Fpostgresql/chat": {"host": "/run/postgresql", "dbname": "chat"},
    "postgresql://me@:5433/chat": {"user": "me", "port": "5433", "dbname": "chat"},
    "postgresql://a:1,b:2/chat": {"host": "a,b", "port": "1,2", "dbname": "chat", **WRITABLE},
    "postgresql:///chat?host=a:1&host=b:2": {"host": "a,b", "port": "1,2", "dbname": "chat", **WRITABLE},
    "postgresql:///chat?host=a,b&port=5433": {
        "host": "a,b",
        "port": "5433,5433",
        "dbname": "chat",
        **WRITABLE,
    },
    "postgresql://a:1,b:2/chat?target_session_attrs=any": {
        "host": "a,b",
        "port": "1,2",
        "dbname": "chat",
        "target_session_attrs": "any",
    },
    "postgresql://db/chat?sslmode=require&channel_binding=require&keepalives=1&keepalives_idle=20": {
        "host": "db",
        "dbname": "chat",
        "sslmode": "require",
        "channel_binding": "require",
        "keepalives": "1",
        "keepalives_idle": "20",
    },
    "postgresql://db/chat?pgbouncer=true&connection_limit=1&pool_timeout=20": {
        "host": "db",
        "dbname": "chat",
    },
    "postgresql:///?host=db&user=me&password=s%26cret&dbname=chat": {
        "host": "db",
        "user": "me",
        "password": "s&cret",
        "dbname": "chat",
    },
    "postgresql://db/chat?sslmode=require&sslrootcert=/etc/ca.pem": {
        "host": "db",
        "dbname": "chat",
        "sslmode": "require",
        "sslrootcert": "/etc/ca.pem",
    },
    "postgresql+asyncpg://db/chat?ssl=verify-full": {
        "host": "db",
        "dbname": "chat",
        "sslmode": "verify-full",
    },
    "postgresql+asyncpg://db/chat?ssl=true": {"host": "db", "dbname": "chat", "sslmode": "require"},
    "postgresql+asyncpg://db/chat?ssl=false": {"host": "db", "dbname": "chat", "sslmode": "disable"},
    "postgresql://db/chat?options=-c%20search_path%3Dx%2By&application_name=a+b": {
        "host": "db",
        "dbname": "chat",
        "options": "-c search_path=x+y",
        "application_name": "a b",
    },
    "postgresql+asyncpg://db/chat?prepared_statement_cache_size=0&async_fallback=true": {
        "host": "db",
        "dbname": "chat",
    },
    "postgresql://db/chat?target_session_attrs=read-write&connect_timeout=2.5": {
        "host": "db",
        "dbname": "chat",
        "target_session_attrs": "read-write",
        "connect_timeout": "3",
    },
}


def read_by_asyncpg(dsn: Dsn) -> tuple[list[Any], Any]:
    """Where asyncpg would connect, and as whom, by its own parsing of the arguments."""
    kwargs = dsn.asyncpg_kwargs()
    fixed = dict.fromkeys(
        ["passfile", "database", "ssl", "service", "servicefile", "direct_tls", "host", "user"]
    )
    rest = dict.fromkeys(["password", "server_settings", "target_session_attrs", "krbsrvname", "gsslib"])
    return asyncpg.connect_utils._parse_connect_dsn_and_args(  # nothing public shows what it parsed
        **fixed, **rest, dsn=kwargs["dsn"], port=kwargs.get("port")
    )


@pytest.mark.parametrize("url", FORMS)
def test_libpq_understands_what_the_url_means(url: str) -> None:
    assert conninfo_to_dict(parse_dsn(url).libpq()) == FORMS[url]


@pytest.mark.parametrize(
    "url", [url for url, meant in FORMS.items() if "sslrootcert" not in meant and "verify" not in url]
)
def test_asyncpg_understands_the_same(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)
    meant = FORMS[url]
    addresses, parameters = read_by_asyncpg(parse_dsn(url))
    hosts = [meant.get("host")] if "host" not in meant else meant["host"].split(",")
    ports = meant.get("port", "5432").split(",")
    if hosts == [None]:
        assert {port for _, port in map(endpoint, addresses)} == {int(ports[0])}
    else:
        assert list(map(endpoint, addresses)) == list(zip(hosts, map(int, ports), strict=True))
    assert parameters.database == meant.get("dbname", parameters.user)
    assert parameters.password == meant.get("password")
    assert parameters.user == meant.get("user", parameters.user)
    settings = {name: meant[name] for name in ("options", "application_name") if name in meant}
    assert (parameters.server_settings or {}) == settings


def endpoint(address: tuple[str, int] | str) -> tuple[str, int]:
    """The address without the file name by which asyncpg names a Unix socket."""
    if isinstance(address, tuple):
        return address
    folder, _, port = address.rpartition("/.s.PGSQL.")
    return folder, int(port)


@pytest.mark.parametrize(
    ("query", "ignored"),
    [
        ("sslmode=require&channel_binding=require", {"channel_binding"}),
        ("sslmode=verify-full&channel_binding=require", set()),
        ("channel_binding=prefer", set()),
        ("pgbouncer=true&connection_limit=1", {"connection_limit"}),
        ("pool_timeout=20", {"pool_timeout"}),
        ("keepalives=1&keepalives_count=5&tcp_user_timeout=9000", set()),
    ],
)
def test_what_providers_add_is_understood_or_left_aside_with_a_reason(query: str, ignored: set[str]) -> None:
    dsn = parse_dsn(f"postgresql://db/chat?{query}")
    assert {option for option, reason in dsn.ignored if reason} == ignored
    # asyncpg would send the server what it doesn't know, as a setting.
    assert set(parse_qs(urlsplit(dsn.asyncpg_kwargs()["dsn"]).query)) <= {"sslmode"}


@pytest.mark.parametrize(
    ("query", "kwargs"),
    [
        ("", {}),
        ("pgbouncer=true", {"statement_cache_size": 0}),
        ("pgbouncer=false", {}),
        ("prepared_statement_cache_size=0", {"statement_cache_size": 0}),
        ("prepared_statement_cache_size=0&statement_cache_size=50", {"statement_cache_size": 0}),
        ("statement_cache_size=50&prepared_statement_cache_size=0", {"statement_cache_size": 0}),
        ("statement_cache_size=50&pgbouncer=true", {"statement_cache_size": 0}),
        ("pgbouncer=true&statement_cache_size=50", {"statement_cache_size": 0}),
        ("command_timeout=1.5&timeout=3", {"command_timeout": 1.5, "timeout": 3.0}),
        ("connect_timeout=0", {"timeout": None}),
    ],
)
def test_options_for_the_pool_become_arguments(query: str, kwargs: dict[str, Any]) -> None:
    assert parse_dsn(f"postgresql+asyncpg://db/chat?{query}").asyncpg_kwargs() == {
        "dsn": "postgresql://db/chat",
        **kwargs,
    }


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "must begin with"),
        ("localhost/chat", "must begin with"),
        ("mysql://me:s3cret@db/chat", "must begin with"),
        ("postgresql+psycopg2://me:s3cret@db/chat", "must begin with"),
        ("me:s3cret@db/chat", "must begin with"),
        ("postgresql://db:s3cret/chat", "port must be a number from 1 to 65535"),
        ("postgresql://db:0/chat", "port must be a number from 1 to 65535"),
        ("postgresql://db:65536/chat", "port must be a number from 1 to 65535"),
        ("postgresql://db/chat?port=-1", "port must be a number from 1 to 65535"),
        ("postgresql://me:s3cret/x@db/chat", "percent-encoded"),
        ("postgresql://me:s3cret?x@db/chat", "percent-encoded"),
        ("postgresql://me:x#s3cret@db/chat", "write it as %23"),
        ("postgresql://me:x[s3cret@db/chat", "brackets"),
        ("postgresql://me:x[s3cret]@db/chat", "brackets|percent-encoded"),
        ("postgresql://db/chat?host=a,b,c&port=1,2", "as many ports as hosts"),
        ("postgresql://a,,b/chat", "one of them is empty"),
        ("postgresql://db/chat?schema=x", "'schema'"),
        ("postgresql://db/chat?sslmode=on", "sslmode must be one of .*require.*, not 'on'"),
        ("postgresql://db/chat?ssl=maybe", "ssl must be one of"),
        ("postgresql://db/chat?channel_binding=on", "channel_binding must be one of"),
        ("postgresql://db/chat?keepalives=often", "keepalives must be a number"),
        ("postgresql://db/chat?target_session_attrs=best", "target_session_attrs must be one of"),
        ("postgresql://db/chat?pgbouncer=perhaps", "pgbouncer must be true or false"),
        ("postgresql://db/chat?statement_cache_size=many", "statement_cache_size must be a number"),
        ("postgresql://db/chat?statement_cache_size=-5", "statement_cache_size must be a number"),
        ("postgresql://db/chat?connect_timeout=inf", "connect_timeout must be a number"),
        ("postgresql://db/chat?command_timeout=nan", "command_timeout must be a number"),
    ],
)
def test_nonsense_is_refused_in_one_sentence_without_secrets(url: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        parse_dsn(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+asyncpg://me:s3cret@db:5433/chat?ssl=require", "postgresql://me@db:5433/chat"),
        ("postgresql:///chat?password=s3cret&host=/run/pg", "postgresql:///chat?host=/run/pg"),
        ("postgresql://:s3cret@:5433", "postgresql://?port=5433"),
        ("postgresql://a:s3cret@[::1]/chat", "postgresql://a@[::1]/chat"),
    ],
)
def test_what_is_shown_has_no_password(url: str, shown: str) -> None:
    dsn = parse_dsn(url)
    assert dsn.redacted() == shown
    assert "s3cret" not in repr(dsn)
    assert "s3cret" in dsn.libpq()


async def test_both_drivers_connect_to_odd_names(postgres_dsn: str, new_database: Callable[[], str]) -> None:
    url = new_database()
    role, database = "o'b /:@#?%&+ü", f"{parse_dsn(url).database} /@#?%+ü"
    odd = replace(parse_dsn(url), user=f"{role}{database}"[:60], database=database)
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        names = {"role": sql.Identifier(odd.user or ""), "name": sql.Identifier(database)}
        admin.execute(sql.SQL("create role {role} login").format(**names))
        admin.execute(sql.SQL("create database {name}").format(**names))
        try:
            with psycopg.connect(odd.libpq()) as one:
                assert one.execute("select current_user, current_database()").fetchone() == (
                    odd.user,
                    database,
                )
            again = parse_dsn(odd.libpq())
            assert again == odd
            two = await asyncpg.connect(**again.asyncpg_kwargs())
            assert tuple(await two.fetchrow("select current_user, current_database()")) == (
                odd.user,
                database,
            )
            await two.close()
        finally:
            admin.execute(sql.SQL("drop database {name} with (force)").format(**names))
            admin.execute(sql.SQL("drop role {role}").format(**names))
