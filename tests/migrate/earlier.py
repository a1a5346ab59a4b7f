"""The database as samosaChaat's earlier chat service made it, with rows from real use."""

import psycopg

USERS = "create table users (id uuid primary key default gen_random_uuid(), email text unique not null)"

CONVERSATIONS = """
create table conversations (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references users (id) on delete cascade,
    title varchar(500),
    model_tag varchar(100) default 'default',
    created_at timestamptz default now(),
    updated_at timestamptz default now()
)
"""
IS_FAVORITED = "alter table conversations add column is_favorited boolean not null default false"

MESSAGES = """
create table messages (
    id uuid primary key default gen_random_uuid(),
    conversation_id uuid not null references conversations (id) on delete cascade,
    role varchar(20) not null constraint ck_messages_role check (role in ('user', 'assistant', 'system')),
    content text not null,
    token_count integer,
    model_tag varchar(100),
    inference_time_ms integer,
    created_at timestamptz default now()
)
"""
INDEXES = [
    "create index idx_conversations_user on conversations (user_id, updated_at desc)",
    "create index idx_messages_conversation on messages (conversation_id, created_at)",
]

USER = "11111111-1111-4111-8111-111111111111"
OTHER_USER = "22222222-2222-4222-8222-222222222222"
COMPLETE = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
NULLS = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
EMPTY = "cccccccc-cccc-4ccc-8ccc-cccccccccccc"

ROWS = f"""
insert into users (id, email) values ('{USER}', 'a@example.org'), ('{OTHER_USER}', 'b@example.org');
insert into conversations (id, user_id, title, model_tag, created_at, updated_at) values
('{COMPLETE}', '{USER}', 'Gruß 🥟', 'd20', '2025-01-01 10:00+00', '2025-01-03 10:00+00'),
('{NULLS}', '{USER}', null, null, null, null),
('{EMPTY}', '{OTHER_USER}', null, 'default', null, null);
insert into messages (conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at)
values
('{COMPLETE}', 'user', 'hi', null, null, null, '2025-01-01 10:00+00'),
('{COMPLETE}', 'assistant', 'hello', 3, 'd20', 40, '2025-01-01 10:01+00'),
('{COMPLETE}', 'user', 'undated, read last', null, null, null, null),
('{NULLS}', 'user', '', null, null, null, '2025-02-01 10:00+00'),
('{NULLS}', 'assistant', 'what?', null, null, null, '2025-02-02 10:00+00');
"""


def make(database_url: str, *, is_favorited: bool, rows: bool = True) -> None:
    """Fill an empty database; without `is_favorited` it is the older of two versions."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        for statement in [
            USERS,
            CONVERSATIONS,
            *([IS_FAVORITED] if is_favorited else []),
            MESSAGES,
            *INDEXES,
        ]:
            connection.execute(statement)
        if rows:
            connection.execute(ROWS)
        if rows and is_favorited:
            connection.execute("update conversations set is_favorited = true where id = %s", (COMPLETE,))
