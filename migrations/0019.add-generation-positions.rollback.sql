-- Loses the order: a conversation's newest generation is found by started_at again.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table if exists generations drop column if exists position;
