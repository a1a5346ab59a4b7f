-- A large conversation is deleted in pieces: it loses its owner at once, so that nobody finds it, and its rows later.
-- depends: 0069.let-import
-- locks: conversations, access exclusive, a moment
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- No client meets a null: what users ask for is found by its owner.
alter table conversations
-- squawk-ignore ban-drop-not-null
alter column user_id drop not null;

comment on column conversations.user_id is
'The owner''s id in the auth service. A foreign key only where that service keeps users in this database. Null: it was '
'deleted, and its rows are removed in pieces (retention.clear).';

-- PostgreSQL searches temporary tables first unless pg_temp is named, so it is named last. Otherwise a caller's
-- temporary table of the same name as one of these would have its triggers run with the owner's rights.
do $$
begin
    perform set_config(
        'search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), 'pg_temp'), true
    );
end
$$;

-- As the owner of the table, so that the service needs no right to give a conversation to another user.
create or replace function chat_set_aside(conversation uuid) returns void
language sql
security definer
set search_path from current
as $$
    update conversations
    set user_id = null
    where
        id = conversation
        and current_setting('chat.user_id', true) in ('*', cast(user_id as text))
$$;

revoke all on function chat_set_aside(uuid) from public;

comment on function chat_set_aside(uuid) is
'Takes a conversation away from its owner, for whom the statement works (or for all): nobody finds it any more.';

create or replace function chat_delete(conversation uuid) returns varchar
language plpgsql
as $$
begin
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
'Deletes a conversation whose row the caller has locked for update. Up to 1,000 rows go at once (deleted). A larger '
'one loses its owner and what waits for its turn, its answer is stopped, and its rows go in pieces (set aside).';

insert into service_rights (object, privilege, columns) values
('chat_set_aside(uuid)', 'execute', '{}'),
('chat_delete(uuid)', 'execute', '{}')
on conflict (object, privilege) do update set columns = excluded.columns;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
