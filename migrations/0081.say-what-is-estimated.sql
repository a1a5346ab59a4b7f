-- prompt_estimate has the instructions and the tools now, too. Only the comment says so.
-- depends: 0080.bring-back-usage
-- locks: generations, share update exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

comment on column generations.prompt_estimate is
'About how many tokens the model had to read: a quarter of the bytes of the messages, instructions and tools that it '
'was sent.';
