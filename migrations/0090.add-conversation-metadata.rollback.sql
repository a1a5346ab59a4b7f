-- Loses what programs noted on conversations; every conversation and every message stays.
-- going back: loses what programs noted on conversations through OpenAI's API

set local lock_timeout = '5s';
set local statement_timeout = '1min';

update service_rights
set columns = array_remove(columns, 'metadata')
where object = 'conversations' and privilege in ('insert', 'update');

comment on column generations.options is
'What the question was asked with, for a regeneration to repeat, and what was set for the conversation at that time '
'("conversation"); null: nothing but the service''s settings.';

alter table if exists conversations
drop column if exists metadata;
