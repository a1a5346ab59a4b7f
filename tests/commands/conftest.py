"""The database as the roles see it that work with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import psycopg
import pytest

from chat_api.migrate.apply import grant_rights
from chat_api.settings.database_url import parse_dsn


@pytest.fixture
def service_url(database_url: str) -> Iterator[str]:
    """This database for a role with the service's rights."""
    role = f"service_{uuid4().hex}"
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(f"create role {role} login")
        grant_rights(database_url, role)
        yield replace(parse_dsn(database_url), user=role).libpq()
        admin.execute(f"drop owned by {role}")
        admin.execute(f"drop role {role}")
