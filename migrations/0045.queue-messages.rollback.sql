-- Loses no message: those that wait become questions without an answer, at the end of their conversations.
-- going back: keeps every message; those that wait become questions without an answer

set local lock_timeout = '5s';
set local statement_timeout = '10min';
-- As in 0041's.
set local row_security = off;

do $$
begin
    if to_regclass('queued_messages') is not null then
        insert into messages (id, conversation_id, role, content, created_at)
        select id, conversation_id, 'user', content, created_at
        from queued_messages
        order by position;
    end if;
end
$$;

delete from service_rights
where object = 'queued_messages';

drop table if exists queued_messages;
