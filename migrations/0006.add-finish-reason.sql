-- Why an answer ended, kept with the answer.
-- depends: 0005.require-message-times

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Not valid: a check that looked at every row would do so under this ACCESS EXCLUSIVE lock. 0007 looks.
alter table messages
add column if not exists finish_reason varchar(20),
drop constraint if exists ck_messages_finish_reason,
add constraint ck_messages_finish_reason
check (finish_reason in ('stop', 'length', 'stopped', 'interrupted', 'error')) not valid;

comment on column messages.finish_reason is
'Null for a user''s message and for answers older than this column. Else: stop (the model ended), length (its limit '
'was reached), stopped (the user stopped it), interrupted (the worker or the stream broke off), error.';
