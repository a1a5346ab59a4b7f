-- Tickets for streams: each is taken once, by whichever worker.
-- depends: 0085.create-api-keys
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Unlogged: a crash empties it, which costs browsers a new ticket, and saves WAL for each one.
create unlogged table if not exists tickets (
    digest bytea not null,
    user_id uuid not null,
    expires_at timestamptz not null,
    token_expires_at double precision not null,
    constraint tickets_pkey primary key (digest),
    constraint ck_tickets_digest check (octet_length(digest) = 32)
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);

comment on table tickets is
'Tickets that nobody has used yet: each attaches to one stream (POST /api/tickets), and is deleted by that. May be '
'emptied at any time; replicas and backups don''t need it. tickets.prune deletes old rows.';
comment on column tickets.digest is
'SHA-256 of the ticket, which has 160 random bits.';
comment on column tickets.user_id is
'Whom the ticket signs in.';
comment on column tickets.expires_at is
'When it is too old to be used, 30 seconds after it was made.';
comment on column tickets.token_expires_at is
'When the token that it was made with expires, in Unix seconds: the stream ends then, with EXPIRED_STREAMS=cut.';

insert into service_rights (object, privilege, columns) values
('tickets', 'select', '{}'),
('tickets', 'insert', '{digest, user_id, expires_at, token_expires_at}'),
-- To lock rows before deleting them, PostgreSQL requires the right to update one column.
('tickets', 'update', '{expires_at}'),
('tickets', 'delete', '{}')
on conflict (object, privilege) do update set columns = excluded.columns;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
