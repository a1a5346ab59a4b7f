-- Costs the finish reasons, which no earlier version reads. The messages stay.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table messages
drop constraint if exists ck_messages_finish_reason,
drop column if exists finish_reason;
