-- Enables row-level security, the second wall between users: the service's role sees only the rows of the user for whom
-- a statement says it works (chat_for_user), and none where it says nothing.
--
--   psql "$DATABASE_URL_OF_THE_OWNER" -f deploy/postgresql/row-security.sql
--
-- Run it as the tables' owner, to whom it doesn't apply; nothing needs a restart. It may be run again, and must be
-- after a migration that changed it. Each table is locked for a moment, in a transaction of its own. If a lock isn't
-- granted within five seconds, the script ends there: run it again. docs/operations/privileges.md says what it costs
-- and how to query as the service's role. row-security-off.sql disables it.

\set ON_ERROR_STOP on
set lock_timeout = '5s';
set client_min_messages = 'warning';

-- With =, the planner would expect each statement to find a fraction of the rows that it finds without the wall, and
-- walk other indexes. To the executor, this operator is the same; to the planner, it is nearly always true.
do $$
begin
    if not (select pg_has_role(relowner, 'usage') from pg_class where oid = 'messages'::regclass) then
        raise exception 'this is for the owner of the tables, %, and you are %',
            (select pg_get_userbyid(relowner) from pg_class where oid = 'messages'::regclass), current_user;
    end if;
    if to_regclass('usage') is null then
        raise exception 'the table usage is missing: run chat-api migrate first';
    end if;
    if to_regoperator('===(uuid, uuid)') is null then
        create operator === (leftarg = uuid, rightarg = uuid, function = uuid_eq, restrict = neqsel);
    end if;
end
$$;

comment on operator === (uuid, uuid) is
'Equality for row-level security: uses no index, and doesn''t change the estimate of how many rows pass.';

-- In PL/pgSQL, because its query is planned once per session, and skipped where no row needs it. Inside the policies
-- below, every plan would carry the query, at each place where it reads one of these tables.
create or replace function chat_conversation() returns uuid
language plpgsql stable
as $$
begin
    return (
        select id from conversations
        where id = nullif(current_setting('chat.conversation_id', true), '')::uuid
    );
end
$$;

grant execute on function chat_conversation() to public;

comment on function chat_conversation() is
'The conversation that the statement is about, if row-level security lets it see that one, so if it is the user''s.';

-- In a subselect, so that the value is computed once per statement and not once per row.
begin;
drop policy if exists of_user on conversations;
create policy of_user on conversations using (
    user_id === (select nullif(replace(current_setting('chat.user_id', true), '*', ''), '')::uuid)
    or current_setting('chat.user_id', true) = '*'
);
comment on policy of_user on conversations is 'The conversations of the user that the statement works for.';
alter table conversations enable row level security;
commit;

begin;
drop policy if exists of_user on messages;
create policy of_user on messages using (
    conversation_id === (select chat_conversation()) or current_setting('chat.user_id', true) = '*'
);
comment on policy of_user on messages is
'The messages of the conversation that the statement is about, if it is the user''s.';
alter table messages enable row level security;
commit;

begin;
drop policy if exists of_user on inactive_messages;
create policy of_user on inactive_messages using (
    conversation_id === (select chat_conversation()) or current_setting('chat.user_id', true) = '*'
);
comment on policy of_user on inactive_messages is
'The messages off the active path of the conversation that the statement is about, if it is the user''s.';
alter table inactive_messages enable row level security;
commit;

begin;
drop policy if exists of_user on queued_messages;
create policy of_user on queued_messages using (
    conversation_id === (select chat_conversation()) or current_setting('chat.user_id', true) = '*'
);
comment on policy of_user on queued_messages is
'The messages that wait in the conversation that the statement is about, if it is the user''s.';
alter table queued_messages enable row level security;
commit;

begin;
drop policy if exists of_user on generations;
create policy of_user on generations using (
    conversation_id === (select chat_conversation()) or current_setting('chat.user_id', true) = '*'
);
comment on policy of_user on generations is
'The generations of the conversation that the statement is about, if it is the user''s.';
alter table generations enable row level security;
commit;

begin;
drop policy if exists of_user on usage;
create policy of_user on usage using (
    user_id === (select nullif(replace(current_setting('chat.user_id', true), '*', ''), '')::uuid)
    or current_setting('chat.user_id', true) = '*'
);
comment on policy of_user on usage is 'What the user used that the statement works for.';
alter table usage enable row level security;
commit;

-- As a scalar and not by exists, which PostgreSQL might answer by reading all generations.
begin;
drop policy if exists of_user on journal;
create policy of_user on journal using (
    current_setting('chat.user_id', true) = '*'
    or (select true from generations as g where g.id = journal.generation_id)
);
comment on policy of_user on journal is 'What was said by the generations that the statement may see.';
alter table journal enable row level security;
commit;

select relname as table, relrowsecurity as wall
from pg_class
where
    relname in (
        'conversations', 'messages', 'inactive_messages', 'queued_messages', 'generations', 'journal', 'usage'
    )
    and relkind = 'r'
    and pg_table_is_visible(oid)
order by relname;
