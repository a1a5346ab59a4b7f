-- What the service's role may do, and no more. The DBA creates and names the role; this migration does neither.
-- depends: 0011.create-journal
-- locks: nothing

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table if not exists service_rights (
    object text not null,
    privilege text not null,
    columns text[] not null default '{}',
    constraint service_rights_pkey primary key (object, privilege),
    constraint ck_service_rights_privilege
    check (privilege in ('select', 'insert', 'update', 'delete', 'execute'))
);

comment on table service_rights is
'The rights that the statements of sql/ need; chat_grant(role) grants them. A migration that needs more adds rows.';
comment on column service_rights.object is 'A table, or a function with the types of its parameters.';
comment on column service_rights.columns is 'The columns that the right covers; empty: all columns, later ones too.';

-- Messages are never updated. Generations are deleted only with their conversation, through its foreign key, which
-- needs no right. A column that a default fills (an id, a time) needs none either.
insert into service_rights (object, privilege, columns) values
('conversations', 'select', '{}'),
('conversations', 'insert', '{user_id, title, model_tag}'),
('conversations', 'update', '{title, is_favorited, updated_at}'),
('conversations', 'delete', '{}'),
('messages', 'select', '{}'),
(
    'messages',
    'insert',
    '{id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason}'
),
('messages', 'delete', '{}'),
('generations', 'select', '{}'),
('generations', 'insert', '{id, conversation_id, kind, user_message_id, idempotency_key, worker_id}'),
(
    'generations',
    'update',
    '{message_id, status, worker_id, stop_requested_at, finish_reason, error_code, token_count, inference_time_ms,
    last_seq, finished_at}'
),
('workers', 'select', '{}'),
('workers', 'insert', '{id, lease_until}'),
('workers', 'update', '{lease_until}'),
('workers', 'delete', '{}'),
('journal', 'select', '{}'),
('journal', 'insert', '{}'),
-- Slices are never changed. To lock rows before deleting them, PostgreSQL requires the right to update one column.
('journal', 'update', '{first_seq}'),
('journal', 'delete', '{}'),
('_yoyo_migration', 'select', '{}'),
('chat_uuid7()', 'execute', '{}')
on conflict (object, privilege) do update set columns = excluded.columns;

create or replace function chat_missing_rights(service_role name) returns setof text
language sql stable
as $$
    select format('grant usage on schema %I to %I', current_schema(), service_role)
    where not has_schema_privilege(service_role, current_schema(), 'usage')
    union all
    select case
        when privilege = 'execute'
            then format('grant execute on function %s to %I', object::regprocedure, service_role)
        else format(
            'grant %s%s on %s to %I',
            privilege,
            (select ' (' || string_agg(quote_ident(name), ', ') || ')' from unnest(columns) as c (name)),
            object::regclass,
            service_role
        )
    end
    from service_rights
    where case
        when privilege = 'execute' then not has_function_privilege(service_role, object, privilege)
        when columns = '{}' then not has_table_privilege(service_role, object, privilege)
        else exists (
            select from unnest(columns) as c (name)
            where not has_column_privilege(service_role, object, name, privilege)
        )
    end
$$;

comment on function chat_missing_rights(name) is
'The statements that grant a role what it lacks to run the service; no row: nothing is missing. Changes nothing.';

create or replace function chat_grant(service_role name) returns setof text
language plpgsql
as $$
declare
    missing text;
begin
    for missing in select chat_missing_rights(service_role) loop
        execute missing;
        return next missing;
    end loop;
end
$$;

comment on function chat_grant(name) is
'Grants a role what it lacks to run the service, and returns the statements that did so. For the owner of the tables.';

create or replace function chat_revoke(service_role name) returns void
language plpgsql
as $$
declare
    held record;
begin
    for held in select object, privilege, columns from service_rights loop
        if held.privilege = 'execute' then
            execute format('revoke execute on function %s from %I', held.object::regprocedure, service_role);
        else
            execute format(
                'revoke %s%s on %s from %I',
                held.privilege,
                (select ' (' || string_agg(quote_ident(name), ', ') || ')' from unnest(held.columns) as c (name)),
                held.object::regclass,
                service_role
            );
        end if;
    end loop;
    execute format('revoke usage on schema %I from %I', current_schema(), service_role);
end
$$;

comment on function chat_revoke(name) is 'Revokes from a role what chat_grant granted. For the owner of the tables.';

-- The catalog knows these roles: only the service may insert itself into workers.
create or replace function chat_service_roles() returns setof name
language sql stable
as $$
    select rolname from pg_roles where oid in (
        select acl.grantee
        from pg_class as c
        cross join lateral aclexplode(c.relacl) as acl
        where c.oid = 'workers'::regclass and acl.privilege_type = 'INSERT' and acl.grantee <> c.relowner
        union all
        select acl.grantee
        from pg_class as c
        inner join pg_attribute as a on a.attrelid = c.oid
        cross join lateral aclexplode(a.attacl) as acl
        where c.oid = 'workers'::regclass and acl.privilege_type = 'INSERT' and acl.grantee <> c.relowner
    )
    union
    select current_setting('chat.service_role', true)::name
    where current_setting('chat.service_role', true) <> ''
$$;

comment on function chat_service_roles() is
'The roles that run the service: those that may insert into workers, and the one that the setting chat.service_role '
'names in this session (`chat-api migrate` sets it to SERVICE_ROLE).';

-- Every migration that adds rights ends with this block.
do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
