-- API keys, for programs: only their digests are stored.
-- depends: 0081.say-what-is-estimated
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table if not exists api_keys (
    id uuid not null default chat_uuid7(),
    user_id uuid not null,
    name varchar(100) not null,
    shown varchar(20) not null,
    digest bytea not null,
    scopes text[] not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    constraint api_keys_pkey primary key (id),
    constraint ck_api_keys_name check (name <> ''),
    constraint ck_api_keys_digest check (octet_length(digest) = 32),
    constraint ck_api_keys_scopes check (
        cardinality(scopes) > 0 and scopes <@ '{read,chat,admin}'::text[]
    )
);

create unique index if not exists uq_api_keys_digest on api_keys (digest);

create index if not exists idx_api_keys_user on api_keys (user_id);

comment on table api_keys is
'The API keys that sign in, where AUTH names keys. A revoked key is deleted. `chat-api key` makes, lists and revokes '
'them; the service itself can make none.';
comment on column api_keys.id is
'Names the key, to revoke it. Not the key.';
comment on column api_keys.user_id is
'Whom the key signs in. No foreign key: users belong to the auth service.';
comment on column api_keys.name is
'What it is for, such as the name of a program.';
comment on column api_keys.shown is
'The beginning of the key, by which people tell theirs apart; too little to guess the rest.';
comment on column api_keys.digest is
'SHA-256 of the key. The key itself has 160 random bits, and is shown once, when it is made.';
comment on column api_keys.scopes is
'What it may be used for: read, chat (send, change, delete) and admin (what administrators may).';
comment on column api_keys.created_at is
'When it was made.';
comment on column api_keys.expires_at is
'From when on it signs nobody in. Null: never.';
comment on column api_keys.last_used_at is
'When it was last used, to a minute or so. Null: never.';

insert into service_rights (object, privilege, columns) values
('api_keys', 'select', '{}'),
('api_keys', 'update', '{last_used_at}'),
('api_keys', 'delete', '{}')
on conflict (object, privilege) do update set columns = excluded.columns;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
