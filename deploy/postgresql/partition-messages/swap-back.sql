-- Reverts 3-swap.sql: the old table is messages again, with everything that was said meanwhile, and the partitioned one
-- follows. Then run undo.sql, or 3-swap.sql again. Like 3-swap.sql, it may have to be run again.
--   psql "$DATABASE_URL" -f swap-back.sql
\set ON_ERROR_STOP on

begin;
-- Autovacuum gives way to a lock request that has waited a second, and can't return while this lock is held. The lock
-- blocks nobody else.
set local lock_timeout = '5s';
lock table messages, messages_unpartitioned in share update exclusive mode;
set local lock_timeout = '500ms'; -- less than deadlock_timeout, so that the service is never a deadlock's victim

lock table messages, messages_unpartitioned in access exclusive mode;

drop trigger messages_follow_insert on messages;
drop trigger messages_follow_update on messages;
drop trigger messages_follow_delete on messages;

alter table messages rename to messages_partitioned;
alter index messages_pkey rename to messages_partitioned_pkey;
alter index idx_messages_conversation_position rename to idx_messages_partitioned_conversation_position;

alter table messages_unpartitioned rename to messages;
alter index messages_unpartitioned_pkey rename to messages_pkey;
alter index idx_messages_unpartitioned_conversation_position rename to idx_messages_conversation_position;

-- A view reads the table that it was made with, whatever that is called later: those of the same owner, such as the
-- reports, are made again to read this one.
do $$
declare
    statement text;
begin
    for statement in
        select format(
            'create or replace view %s%s as %s',
            v.oid::regclass,
            ' with (' || array_to_string(v.reloptions, ', ') || ')',
            regexp_replace(pg_get_viewdef(v.oid), '\mmessages_partitioned\M', 'messages', 'g')
        )
        from pg_class as v
        where
            v.relkind = 'v'
            and pg_has_role(v.relowner, 'usage')
            and v.oid in (
                select r.ev_class
                from pg_depend as d
                inner join pg_rewrite as r on d.objid = r.oid
                where d.classid = 'pg_rewrite'::regclass and d.refobjid = 'messages_partitioned'::regclass
            )
    loop
        execute statement;
    end loop;
end
$$;

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

\echo messages is one table again, and messages_partitioned follows it
