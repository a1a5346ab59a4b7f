-- Messages that wait until the answer that is being written has ended.
-- depends: 0044.validate-paths
-- locks: conversations, share row exclusive, a moment
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table if not exists queued_messages (
    id uuid not null default chat_uuid7(),
    conversation_id uuid not null,
    content text not null,
    request json not null,
    idempotency_key varchar(200),
    position bigint not null default nextval('chat_position'),
    created_at timestamptz not null default now(),
    constraint queued_messages_pkey primary key (id),
    constraint queued_messages_conversation_id_fkey
    foreign key (conversation_id) references conversations (id) on delete cascade
);

create index if not exists idx_queued_messages_conversation
on queued_messages (conversation_id, position);

create unique index if not exists uq_queued_messages_idempotency_key
on queued_messages (conversation_id, idempotency_key) where idempotency_key is not null;

comment on table queued_messages is
'Messages whose turn comes when the answer that is being written has ended, oldest first by position. The statement '
'that starts the answer (generations.start) moves the row to messages, where it keeps its id: so it is sent once.';
comment on column queued_messages.request is
'The rest of the request: {"temperature","tools",…}, each optional.';
comment on column queued_messages.idempotency_key is
'The Idempotency-Key of the request; generations.idempotency_key once it is sent.';

-- Behind row-level security, it gets what messages has, as in 0041.
do $$
declare
    statement text;
begin
    for statement in
        select format('drop policy if exists %I on queued_messages', policyname)
        from pg_policies
        where schemaname = current_schema() and tablename = 'messages'
        union all
        select format(
            'create policy %I on queued_messages as %s for %s to %s%s%s',
            policyname,
            permissive,
            cmd,
            (
                select string_agg(case role when 'public' then role else quote_ident(role) end, ', ')
                from unnest(roles) as role
            ),
            ' using (' || regexp_replace(qual, '\mmessages\.', 'queued_messages.', 'g') || ')',
            ' with check (' || regexp_replace(with_check, '\mmessages\.', 'queued_messages.', 'g') || ')'
        )
        from pg_policies
        where schemaname = current_schema() and tablename = 'messages'
        union all
        select format('alter table queued_messages %s row level security', setting.name)
        from pg_class as m
        cross join lateral (values ('enable', m.relrowsecurity), ('force', m.relforcerowsecurity)) as setting (name, is_set)
        where m.oid = 'messages'::regclass and setting.is_set
    loop
        execute statement;
    end loop;
end
$$;

insert into service_rights (object, privilege, columns) values
('queued_messages', 'select', '{}'),
('queued_messages', 'insert', '{conversation_id, content, request, idempotency_key}'),
('queued_messages', 'update', '{position}'), -- which a lock needs
('queued_messages', 'delete', '{}')
on conflict (object, privilege) do update set columns = excluded.columns;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
