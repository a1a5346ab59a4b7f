-- A conversation is a tree. Its active path stays in messages, one message after the other, so reading it costs what it
-- did, and the release before sees what it always saw. What is off the path has a table of its own.
-- depends: 0040.add-message-parents
-- locks: conversations, share row exclusive, a moment
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table if not exists inactive_messages (
    id uuid not null,
    conversation_id uuid not null,
    role varchar(20) not null,
    content text not null,
    token_count integer,
    model_tag varchar(100),
    inference_time_ms integer,
    created_at timestamptz not null,
    finish_reason varchar(20),
    position bigint not null,
    reasoning text,
    tool_calls json,
    tool_call_id text,
    usage json,
    is_refused boolean,
    parent_position bigint not null,
    constraint inactive_messages_pkey primary key (id, conversation_id),
    constraint inactive_messages_conversation_id_fkey
    foreign key (conversation_id) references conversations (id) on delete cascade
);

create index if not exists idx_inactive_messages_position
on inactive_messages (conversation_id, position);

-- With the id, which is all that a reader of another version sees of it.
create index if not exists idx_inactive_messages_parent
on inactive_messages (conversation_id, parent_position, position) include (id);

comment on table inactive_messages is
'What was said off the active path: other versions of questions and answers, and what was said after those. A switch '
'moves rows between this table and messages, whose columns mean the same; ids and positions stay.';
comment on column inactive_messages.parent_position is
'The position of the message that it comes after, here or in messages; 0: it begins the conversation.';

-- Behind row-level security (deploy/postgresql/row-security.sql, or policies of your own), a switch must not bring messages
-- out into the open: the table gets what messages has.
do $$
declare
    statement text;
begin
    for statement in
        select format('drop policy if exists %I on inactive_messages', policyname)
        from pg_policies
        where schemaname = current_schema() and tablename = 'messages'
        union all
        select format(
            'create policy %I on inactive_messages as %s for %s to %s%s%s',
            policyname,
            permissive,
            cmd,
            (
                select string_agg(case role when 'public' then role else quote_ident(role) end, ', ')
                from unnest(roles) as role
            ),
            ' using (' || regexp_replace(qual, '\mmessages\.', 'inactive_messages.', 'g') || ')',
            ' with check (' || regexp_replace(with_check, '\mmessages\.', 'inactive_messages.', 'g') || ')'
        )
        from pg_policies
        where schemaname = current_schema() and tablename = 'messages'
        union all
        select format('alter table inactive_messages %s row level security', setting.name)
        from pg_class as m
        cross join lateral (values ('enable', m.relrowsecurity), ('force', m.relforcerowsecurity)) as setting (name, is_set)
        where m.oid = 'messages'::regclass and setting.is_set
    loop
        execute statement;
    end loop;
end
$$;

insert into service_rights (object, privilege, columns) values
('inactive_messages', 'select', '{}'),
('inactive_messages', 'insert', '{}'),
('inactive_messages', 'delete', '{}')
on conflict (object, privilege) do update set columns = excluded.columns;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
