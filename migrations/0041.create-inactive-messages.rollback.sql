-- Loses which messages are versions of each other; every message stays: all are read in the order of their positions.
-- going back: keeps every message; versions are read one after the other, in the order of their positions

set local lock_timeout = '5s';
set local statement_timeout = '1h';
-- A role that doesn't see every message fails here, instead of losing the others.
set local row_security = off;

do $$
begin
    if to_regclass('inactive_messages') is not null then
        lock table inactive_messages in access exclusive mode;
        insert into messages (
            id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason,
            position, reasoning, tool_calls, tool_call_id, usage, is_refused
        )
        select
            id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason,
            position, reasoning, tool_calls, tool_call_id, usage, is_refused
        from inactive_messages;
    end if;
end
$$;

delete from service_rights
where object = 'inactive_messages';

drop table if exists inactive_messages;
