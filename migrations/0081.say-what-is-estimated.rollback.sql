-- Loses nothing.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

comment on column generations.prompt_estimate is
'About how many tokens the model had to read: a quarter of the bytes of the messages that it was sent.';
