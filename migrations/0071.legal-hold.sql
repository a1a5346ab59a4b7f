-- What must be kept whatever else says that it goes: of a conversation, or of everything of a user.
-- depends: 0070.delete-in-pieces
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table if not exists legal_hold (
    id uuid not null default chat_uuid7(),
    user_id uuid,
    conversation_id uuid,
    since timestamptz not null default now(),
    reason text not null,
    held_by text not null default current_user,
    constraint legal_hold_pkey primary key (id),
    constraint ck_legal_hold_subject check (num_nonnulls(user_id, conversation_id) = 1),
    constraint ck_legal_hold_reason check (reason <> '')
);

create unique index if not exists uq_legal_hold_user on legal_hold (user_id) where user_id is not null;

create unique index if not exists uq_legal_hold_conversation
on legal_hold (conversation_id) where conversation_id is not null;

comment on table legal_hold is
'What is kept until the hold is lifted (the row deleted): no retention, no user and no erasure deletes it. Only the '
'owner of the tables sets and lifts holds; the service reads them.';
comment on column legal_hold.id is
'Names the hold, to lift it.';
comment on column legal_hold.user_id is
'All conversations of this user, later ones too. No foreign key: the hold outlives the account.';
comment on column legal_hold.conversation_id is
'This conversation alone. Either this or user_id.';
comment on column legal_hold.since is
'When it was set.';
comment on column legal_hold.reason is
'Why, as a file number. The service shows it to nobody.';
comment on column legal_hold.held_by is
'Who set it; by default the database role.';

create or replace function chat_is_held(conversation uuid) returns boolean
language sql stable
as $$
    select exists (
        select from legal_hold as h
        where
            h.conversation_id = conversation
            or h.user_id = (select c.user_id from conversations as c where c.id = conversation)
    )
$$;

comment on function chat_is_held(uuid) is
'Whether a conversation, or all of its owner, is on legal hold.';

create or replace function chat_delete(conversation uuid) returns varchar
language plpgsql
as $$
begin
    if chat_is_held(conversation) then
        return 'held';
    end if;
    if (
        select count(*) <= 1000
        from (
            select from (select from messages where conversation_id = conversation limit 1001) as m
            union all
            select from (select from inactive_messages where conversation_id = conversation limit 1001) as i
            union all
            select from (select from generations where conversation_id = conversation limit 1001) as g
        ) as r
    ) then
        delete from conversations where id = conversation;
        return 'deleted';
    end if;
    -- Not deleted: a worker brings in an answer whose row a failover lost, as long as there is the conversation.
    update generations set stop_requested_at = coalesce(stop_requested_at, now())
    where conversation_id = conversation and status = 'running';
    delete from queued_messages where conversation_id = conversation;
    perform chat_set_aside(conversation);
    return 'set aside';
end
$$;

comment on function chat_delete(uuid) is
'Deletes a conversation whose row the caller has locked for update, unless it is on legal hold (held). Up to 1,000 '
'rows go at once (deleted). A larger one loses its owner and what waits for its turn, its answer is stopped, and its '
'rows go in pieces (set aside).';

insert into service_rights (object, privilege, columns) values
('legal_hold', 'select', '{}'),
('chat_is_held(uuid)', 'execute', '{}')
on conflict (object, privilege) do update set columns = excluded.columns;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
