-- What a user sets for one conversation, and a number by which two tabs that change it notice each other. No row is
-- rewritten.
-- depends: 0038.index-answered-calls
-- locks: conversations, access exclusive, a moment
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- The checks apply to new rows from here on; 0044 validates them.
alter table conversations
add column if not exists instructions varchar(8000),
add column if not exists options json,
add column if not exists version integer not null default 0,
drop constraint if exists ck_conversations_version,
add constraint ck_conversations_version check (version >= 0) not valid;

comment on column conversations.instructions is
'What the model is told before the conversation, in place of SYSTEM_PROMPT. Null: that one.';
comment on column conversations.options is
'What its answers are asked with where a request says nothing: {"temperature","max_tokens","top_k","thinking_mode",'
'"force_web_search"}, each of them optional. Null: the service''s settings.';
comment on column conversations.version is
'Counts the changes that are no new answer: of its settings, its title, its active path and what waits for its turn. '
'Whoever watches the conversation is told of each. A statement that read another path than the one it would write to '
'sets -1, which ck_conversations_version refuses; it is then repeated.';

insert into service_rights (object, privilege, columns) values
('conversations', 'insert', '{user_id, title, model_tag, instructions, options}'),
('conversations', 'update', '{title, is_favorited, updated_at, model_tag, instructions, options, version}')
on conflict (object, privilege) do update set columns = excluded.columns;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
