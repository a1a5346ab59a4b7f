-- Each message's tool calls are answered once, whatever several workers are asked at the same moment.
-- depends: 0037.validate-kinds
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
        select from pg_index where indexrelid = to_regclass('uq_generations_call_message') and not indisvalid
    ) then
        drop index uq_generations_call_message;
    end if;
end
$$;

create unique index concurrently if not exists uq_generations_call_message
on generations (conversation_id, call_message_id) where call_message_id is not null;
