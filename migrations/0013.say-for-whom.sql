-- Each statement says for whom it works. Nothing asks, until a DBA puts the second wall between users up, policies of
-- row-level security: deploy/postgresql/row-security.sql, and docs/operations/privileges.md for what it costs.
-- depends: 0012.grant-service-rights
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Until the end of the transaction, which is the statement's own: behind a pooler too, nothing of it is left to the
-- next one. Both are plain expressions, which PostgreSQL puts in the place of the call.
create or replace function chat_for_user(user_id uuid, conversation_id uuid) returns boolean
language sql volatile
as $$
    select set_config('chat.user_id', coalesce(user_id::text, ''), true) is not null
        and set_config('chat.conversation_id', coalesce(conversation_id::text, ''), true) is not null
$$;

comment on function chat_for_user(uuid, uuid) is
'Says for whom this statement works: a user, and the conversation that it is about, or null. True. '
'It belongs, as (select chat_for_user(…)), into the WHERE of the outermost select, which PostgreSQL looks at first.';

create or replace function chat_for_everyone() returns boolean
language sql volatile
as $$
    select set_config('chat.user_id', '*', true) is not null
$$;

comment on function chat_for_everyone() is
'Says that this statement works for all users at once, as housekeeping does. True. Its place is that of chat_for_user.';

insert into service_rights (object, privilege) values
('chat_for_user(uuid, uuid)', 'execute'),
('chat_for_everyone()', 'execute')
on conflict (object, privilege) do nothing;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
