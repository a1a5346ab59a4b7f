-- The table conversations: created in a fresh database, adopted with every row where samosaChaat created it earlier.
-- The samosaChaat service keeps working on it, so nothing is renamed and an insert needs no new column.
-- One file locks one existing table: two ACCESS EXCLUSIVE locks in one transaction could deadlock with the service.
-- locks: conversations, access exclusive, a moment
-- locks: users, share row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- PostgreSQL has uuidv7() only from 18 on. clock_timestamp(), not now(): rows of one transaction keep their order too.
-- floor(), because a cast to bigint would round up, half a millisecond into the future.
create or replace function chat_uuid7() returns uuid
language sql volatile parallel safe
as $$
    select (
        lpad(to_hex(floor(extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0')
        || '-7' || substr(gen_random_uuid()::text, 16)
    )::uuid
$$;

comment on function chat_uuid7() is
'A new time-ordered id (UUID version 7, RFC 9562): 48 bits of Unix milliseconds, then random bits. '
'Primary keys append instead of scattering. Within one millisecond the order is random.';

create table if not exists conversations (
    id uuid not null default chat_uuid7(),
    user_id uuid not null,
    title varchar(500) default 'New conversation',
    model_tag varchar(100) default 'default',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    is_favorited boolean not null default false,
    constraint conversations_pkey primary key (id)
);

-- A constant default is stored in the catalog, so the table isn't rewritten. The checks apply to new rows from here on;
-- 0003 repairs old rows, and 0004 validates them.
alter table conversations
add column if not exists is_favorited boolean not null default false,
alter column id set default chat_uuid7(),
alter column title set default 'New conversation',
alter column model_tag set default 'default',
alter column created_at set default now(),
alter column updated_at set default now(),
drop constraint if exists ck_conversations_created_at,
add constraint ck_conversations_created_at check (created_at is not null) not valid,
drop constraint if exists ck_conversations_updated_at,
add constraint ck_conversations_updated_at check (updated_at is not null) not valid;

-- Users belong to the auth service. Where it shares this database, deleting a user must still delete the user's
-- conversations, so an adopted foreign key stays, and a new table gets the same one. A database without users gets
-- none. A table that already has rows stays as it is: its rows may refer to users that are gone.
do $$
begin
    if exists (
        select from pg_index
        inner join pg_attribute on attrelid = indrelid and attnum = indkey[0]
        where indrelid = to_regclass('users')
            and indisprimary and indnkeyatts = 1 and attname = 'id' and atttypid = 'uuid'::regtype
    ) and not exists (
        select from pg_constraint
        where conrelid = 'conversations'::regclass and contype = 'f' and confrelid = to_regclass('users')
    ) and not exists (select from conversations) then
        alter table conversations add constraint conversations_user_id_fkey
        foreign key (user_id) references users (id) on delete cascade;
    end if;
end
$$;

comment on table conversations is 'One chat of one user. Its messages and generations go with it.';
comment on column conversations.user_id is
'The owner''s id in the auth service. A foreign key only where that service keeps users in this database.';
comment on column conversations.title is
'Null reads as the default: an earlier service may write nulls. The first message replaces a placeholder title.';
comment on column conversations.model_tag is
'The model that the user asked for, by its name in the inference service. Null reads as the default.';
comment on column conversations.updated_at is
'When the last message was stored or the title changed: the order of the lists.';
