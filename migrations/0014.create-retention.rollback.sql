set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop function if exists chat_uuid7_at(timestamptz);
