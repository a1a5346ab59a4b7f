-- A tenth of each page of conversations stays free. An answer's start moves updated_at, and so writes to the table's
-- indexes; its end makes a version that differs in no indexed column, which goes into the same page, and into no index
-- (HOT), if there is room. With full pages, one in twenty found none, and the rest found it only where vacuum had been.
-- Applies to pages that are written from now on.
-- depends: 0075.let-keys-leave
-- locks: conversations, share update exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table conversations set (fillfactor = 90);

comment on column conversations.updated_at is
'When the last message was sent, or an answer begun anew: the order of the lists. The end of an answer and changes of '
'the conversation leave it.';
