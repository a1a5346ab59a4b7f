-- What the platform's Alembic revisions 001 to 004 do for others than this service: the table users, and the note that
-- they have been applied. conversations and messages are made, or adopted, by `chat-api migrate`. With this file, the two
-- may run in either order, on a new site and on an old one, and `alembic upgrade head` finds nothing left to do.
--
--   psql "$DATABASE_URL" -v ON_ERROR_STOP=1 -1 -f platform.sql
--
-- As the role that owns the platform's tables. It is safe to run again.

set local lock_timeout = '5s';
set local statement_timeout = '5min';

create table if not exists users (
    id uuid not null default gen_random_uuid(),
    email varchar(255) not null,
    name varchar(255),
    avatar_url text,
    provider varchar(50) not null,
    provider_id varchar(255) not null,
    created_at timestamptz default now(),
    updated_at timestamptz default now(),
    last_login_at timestamptz default now(),
    constraint users_pkey primary key (id),
    constraint users_email_key unique (email),
    constraint uq_users_provider_identity unique (provider, provider_id)
);

-- If `chat-api migrate` came first, there was no table to refer to. Rows of unknown users stay as they are, and then
-- there is no foreign key: deleting a user doesn't delete such rows, `chat-api user delete` does.
do $$
begin
    -- Apart from the next condition, which PostgreSQL couldn't even plan without this table.
    if to_regclass('conversations') is null then
        return;
    end if;
    if not exists (
        select from pg_constraint
        where conrelid = to_regclass('conversations') and contype = 'f' and confrelid = 'users'::regclass
    ) and not exists (
        select from conversations as c
        where not exists (select from users as u where u.id = c.user_id)
    ) then
        alter table conversations add constraint conversations_user_id_fkey
        foreign key (user_id) references users (id) on delete cascade;
    end if;
end
$$;

create table if not exists alembic_version (
    version_num varchar(32) not null,
    constraint alembic_version_pkc primary key (version_num)
);

-- A later revision that the platform has applied is left alone.
update alembic_version
set version_num = '004_add_favorited'
where version_num in ('001_create_users', '002_create_conversations', '003_create_messages');

insert into alembic_version (version_num)
select '004_add_favorited'
where not exists (select from alembic_version);
