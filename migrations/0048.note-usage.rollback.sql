-- Loses nothing: usage of later answers isn't noted.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

do $$
begin
    if to_regclass('generations') is not null then
        drop trigger if exists note_usage on generations;
        drop trigger if exists note_usage_of_deleted on generations;
    end if;
end
$$;

drop function if exists chat_note_usage();
