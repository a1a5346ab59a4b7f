-- Every statement says for whom it works. Nothing reads that until a DBA enables row-level security, the second wall
-- between users: deploy/postgresql/row-security.sql; docs/operations/privileges.md says what it costs.
-- depends: 0012.grant-service-rights
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Set until the end of the transaction, which is that of the statement: nothing of it reaches the next statement, not
-- even behind a pooler. Both functions are plain expressions, which PostgreSQL inlines.
create or replace function chat_for_user(user_id uuid, conversation_id uuid) returns boolean
language sql volatile
as $$
    select set_config('chat.user_id', coalesce(user_id::text, ''), true) is not null
        and set_config('chat.conversation_id', coalesce(conversation_id::text, ''), true) is not null
$$;

comment on function chat_for_user(uuid, uuid) is
'Says for whom this statement works: a user, and the conversation that it is about, or null. Returns true. '
'It belongs, as (select chat_for_user(…)), into the WHERE of the outermost select, which PostgreSQL evaluates first.';

create or replace function chat_for_everyone() returns boolean
language sql volatile
as $$
    select set_config('chat.user_id', '*', true) is not null
$$;

comment on function chat_for_everyone() is
'Says that this statement works for all users at once, as clean-up does. Returns true. Used like chat_for_user.';

insert into service_rights (object, privilege) values
('chat_for_user(uuid, uuid)', 'execute'),
('chat_for_everyone()', 'execute')
on conflict (object, privilege) do nothing;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
