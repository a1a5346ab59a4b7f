-- Creates the empty table messages_partitioned beside messages, and makes it follow: from here on, every message that
-- is written or deleted in one is written or deleted in both. Takes moments; to go back: undo.sql.
--   psql "$DATABASE_URL" -f 1-prepare.sql                  8 partitions
--   psql "$DATABASE_URL" -v partitions=16 -f 1-prepare.sql
-- Run it as the owner of messages, who must be allowed to see all rows (row-level security doesn't apply to the owner).
\set ON_ERROR_STOP on
\if :{?partitions}
\else
\set partitions 8
\endif

begin;
set local client_min_messages = 'warning';
-- Autovacuum gives way to a lock request that has waited a second, and can't return while this lock is held. The lock
-- blocks nobody else.
set local lock_timeout = '5s';
lock table conversations in share update exclusive mode;
-- The foreign key waits for the transactions that are writing to conversations, and new ones wait for it meanwhile. It
-- waits no longer than this, which is less than deadlock_timeout, so that the service is never chosen as the deadlock's
-- victim.
set local lock_timeout = '500ms';

do $$
begin
    if not (select pg_has_role(relowner, 'usage') from pg_class where oid = 'messages'::regclass) then
        raise exception 'this is for the owner of messages, %, and you are %',
            (select pg_get_userbyid(relowner) from pg_class where oid = 'messages'::regclass), current_user;
    end if;
    if (select relkind from pg_class where oid = 'messages'::regclass) <> 'r' then
        raise exception 'messages is partitioned already';
    end if;
    if to_regclass('messages_partitioned') is not null then
        raise exception 'messages_partitioned is there already: run undo.sql first';
    end if;
end
$$;

create table messages_partitioned (
    like messages including defaults including constraints including comments including storage including compression
) partition by hash (conversation_id);

-- A key of a partitioned table must include the partition key. Ids are unique without it, because chat_uuid7() makes
-- them.
alter table messages_partitioned add constraint messages_partitioned_pkey primary key (id, conversation_id);

create index idx_messages_partitioned_conversation_position
on messages_partitioned (conversation_id, position);

select format(
    'create table messages_p%s partition of messages_partitioned for values with (modulus %s, remainder %s)',
    remainder, :partitions, remainder
)
from generate_series(0, :partitions - 1) as remainder
\gexec

-- Added while the table is empty, so it checks no row. The name is that of the old table's foreign key, because the
-- service recognises errors by it.
alter table messages_partitioned add constraint messages_conversation_id_fkey
foreign key (conversation_id) references conversations (id) on delete cascade;

-- Copies what the table messages has: owner, autovacuum's settings, comment, rights, row-level security.
select format('alter table %s owner to %I', t.relid, pg_get_userbyid(m.relowner))
from pg_class as m cross join pg_partition_tree('messages_partitioned') as t
where m.oid = 'messages'::regclass
\gexec

select format('alter table %s set (%s)', t.relid, array_to_string(m.reloptions, ', '))
from pg_class as m cross join pg_partition_tree('messages_partitioned') as t
where m.oid = 'messages'::regclass and m.reloptions is not null and t.isleaf
\gexec

select format('comment on table messages_partitioned is %L', obj_description('messages'::regclass, 'pg_class'))
\gexec

select format(
    'grant %s on messages_partitioned to %s%s',
    g.privilege_type,
    case when g.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end,
    case when g.is_grantable then ' with grant option' else '' end
)
from pg_class as m cross join aclexplode(m.relacl) as g
where m.oid = 'messages'::regclass and g.grantee <> m.relowner
\gexec

-- Rights to columns are stored with each column: the service's role may insert through these alone.
select format(
    'grant %s (%s) on messages_partitioned to %s%s',
    g.privilege_type,
    string_agg(quote_ident(a.attname), ', ' order by a.attnum),
    case when g.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end,
    case when g.is_grantable then ' with grant option' else '' end
)
from pg_class as m
inner join pg_attribute as a on a.attrelid = m.oid and not a.attisdropped
cross join aclexplode(a.attacl) as g
where m.oid = 'messages'::regclass and g.grantee <> m.relowner
group by g.privilege_type, g.grantee, g.is_grantable
\gexec

select format(
    'create policy %I on messages_partitioned as %s for %s to %s%s%s',
    policyname, permissive, cmd, (select string_agg(case role when 'public' then role else quote_ident(role) end, ', ') from unnest(roles) as role),
    ' using (' || qual || ')', ' with check (' || with_check || ')'
)
from pg_policies where schemaname = current_schema() and tablename = 'messages'
\gexec

select format('alter table messages_partitioned %s row level security', what)
from pg_class as m
cross join lateral (values ('enable', m.relrowsecurity), ('force', m.relforcerowsecurity)) as v (what, is_so)
where m.oid = 'messages'::regclass and is_so
\gexec

-- PostgreSQL searches temporary tables first unless pg_temp is named, so it is named last. Otherwise a temporary table
-- of the service's role, with the same name as one of these, would have its triggers run with the owner's rights.
do $$
begin
    perform set_config(
        'search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), 'pg_temp'), true
    );
end
$$;

-- Repeats on the table that the trigger names what was done to the trigger's own table. It runs as its owner, so the
-- service needs no right on the table that follows. It copies all columns in their order, which both tables share,
-- columns that you added included.
create function messages_follow() returns trigger language plpgsql security definer set search_path from current as $$
begin
    if tg_op in ('DELETE', 'UPDATE') then
        execute format(
            'delete from %I as m using gone where m.id = gone.id and m.conversation_id = gone.conversation_id', tg_argv[0]
        );
    end if;
    if tg_op in ('INSERT', 'UPDATE') then
        execute format('insert into %I select come.* from come on conflict do nothing', tg_argv[0]);
    end if;
    return null;
end
$$;

-- Otherwise any role that may create a table, even a temporary one, could have it write to any table of the owner's.
-- The triggers below belong to the owner, and need no right.
revoke execute on function messages_follow() from public;

-- How far the copy has come: all messages up to this one, in this order, are copied.
create table messages_copied (
    conversation_id uuid not null,
    position bigint not null,
    messages bigint not null,
    is_complete boolean not null
);

insert into messages_copied values
('00000000-0000-0000-0000-000000000000', 0, 0, false);

commit;

-- In a transaction of its own: one that locked both conversations and messages could deadlock with the service.
begin;
set local lock_timeout = '5s';
lock table messages in share update exclusive mode;
set local lock_timeout = '500ms';

create trigger messages_follow_insert after insert on messages
referencing new table as come
for each statement execute function messages_follow('messages_partitioned');

create trigger messages_follow_update after update on messages
referencing old table as gone new table as come
for each statement execute function messages_follow('messages_partitioned');

create trigger messages_follow_delete after delete on messages
referencing old table as gone
for each statement execute function messages_follow('messages_partitioned');

commit;

\echo messages_partitioned follows messages; next: 2-copy.sql
