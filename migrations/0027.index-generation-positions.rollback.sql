-- Builds the index of 0010 again, then drops the new one. Mirrors 0027; see 0007.

set lock_timeout = '10min';
set statement_timeout = '2h';

do $$
begin
    perform set_config('lock_timeout', '5s', true);
    if exists (
        select from pg_index where indexrelid = to_regclass('idx_generations_conversation') and not indisvalid
    ) then
        drop index idx_generations_conversation;
    end if;
end
$$;

create index concurrently if not exists idx_generations_conversation
on generations (conversation_id, started_at desc);

drop index concurrently if exists idx_generations_conversation_position;
