-- Builds the index that the earlier service's list needs, then drops the new one. Mirrors 0007; see there.

set lock_timeout = '10min';
set statement_timeout = '2h';

do $$
begin
    perform set_config('lock_timeout', '5s', true);
    if exists (
        select from pg_index where indexrelid = to_regclass('idx_conversations_user') and not indisvalid
    ) then
        drop index idx_conversations_user;
    end if;
end
$$;

create index concurrently if not exists idx_conversations_user
on conversations (user_id, updated_at desc);

drop index concurrently if exists idx_conversations_user_updated;
