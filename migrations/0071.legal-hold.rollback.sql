-- Loses the holds: from then on, retention and users delete what was held. Every conversation stays.
-- going back: loses the legal holds, so that what was held can be deleted again

set local lock_timeout = '5s';
set local statement_timeout = '1min';

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

delete from service_rights
where object in ('legal_hold', 'chat_is_held(uuid)');

drop function if exists chat_is_held(uuid);

drop table if exists legal_hold;
