-- In a transaction of its own, so that reading and writing go on while every row is looked at.
-- depends: 0006.add-finish-reason

set local lock_timeout = '5s';
set local statement_timeout = '30min';

alter table messages validate constraint ck_messages_finish_reason;
