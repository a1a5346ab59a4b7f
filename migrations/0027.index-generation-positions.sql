-- A conversation's newest generation is found by position; a deletion of the conversation finds its generations through
-- this index too.
-- depends: 0026.index-message-positions
-- locks: generations, share update exclusive, builds an index
-- transactional: false
-- squawk-disable-assume-in-transaction

-- Mirrors its rollback file, statement by statement; for the reasons, see 0007.

set lock_timeout = '10min';
set statement_timeout = '2h';

do $$
begin
    perform set_config('lock_timeout', '5s', true);
    if exists (
        select from pg_index where indexrelid = to_regclass('idx_generations_conversation_position') and not indisvalid
    ) then
        drop index idx_generations_conversation_position;
    end if;
end
$$;

create index concurrently if not exists idx_generations_conversation_position
on generations (conversation_id, position desc);

drop index concurrently if exists idx_generations_conversation;
