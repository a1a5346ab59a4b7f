-- The order of a conversation's generations, as 0018 gives it to messages.
-- depends: 0018.add-message-positions
-- locks: generations, access exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table generations add column if not exists position bigint;
alter table generations alter column position set default nextval('chat_position');

comment on column generations.position is
'Order of start within the conversation. Rows from before this column have negative numbers.';
