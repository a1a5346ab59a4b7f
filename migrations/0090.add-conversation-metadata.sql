-- What a program notes on a conversation through OpenAI's API (/v1/conversations). No row is rewritten.
-- depends: 0086.create-tickets
-- locks: conversations, access exclusive, a moment
-- locks: service_rights, row exclusive, a moment
-- locks: generations, share update exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table conversations
add column if not exists metadata json;

comment on column conversations.metadata is
'What a program noted on it: {"key": "value", …}, at most 16 pairs. The service doesn''t read it. Null: nothing.';

comment on column generations.options is
'What the question was asked with, for a regeneration to repeat, and what was set for the conversation at that time '
'("conversation"); null: nothing but the service''s settings. Asked through OpenAI''s API, it also has "response": '
'{"model","metadata","previous_response_id","background","began_conversation"}.';

update service_rights
set columns = columns || '{metadata}'
where object = 'conversations' and privilege in ('insert', 'update') and not columns @> '{metadata}';

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
