-- Copies the rows of messages to messages_partitioned, conversation by conversation, in batches that are committed one
-- by one. After an interruption it continues where it was. To leave the disk to others: -v rest=0.5 (seconds after each
-- batch).
--   psql "$DATABASE_URL" -f 2-copy.sql
\set ON_ERROR_STOP on
\if :{?batch}
\else
\set batch 10000
\endif
\if :{?rest}
\else
\set rest 0
\endif

do $$
begin
    if not exists (
        select from pg_trigger where tgrelid = to_regclass('messages') and tgname = 'messages_follow_delete'
    ) or to_regclass('messages_partitioned') is null then
        raise exception 'messages_partitioned doesn''t follow messages: run undo.sql, then 1-prepare.sql';
    end if;
end
$$;

create or replace procedure messages_copy(batch integer, rest double precision) language plpgsql as $$
declare
    at messages_copied;
    copied bigint;
begin
    loop
        select * into strict at from messages_copied for update;
        -- Locked: a session that deletes one of these waits until it is copied, and then deletes the copy as well. A
        -- batch likewise waits for a deletion, and then no longer sees the row.
        with part as materialized (
            select m.*
            from messages as m
            where (m.conversation_id, m.position) > (at.conversation_id, at.position)
            order by m.conversation_id, m.position
            limit batch
            for key share
        ),
        written as (
            insert into messages_partitioned select part.* from part on conflict do nothing
        )
        select count(*), (array_agg(p.conversation_id order by n desc))[1], (array_agg(p.position order by n desc))[1]
        into copied, at.conversation_id, at.position
        from (select conversation_id, position, row_number() over () as n from part) as p;
        exit when copied = 0;
        update messages_copied set conversation_id = at.conversation_id, position = at.position,
            messages = messages + copied;
        commit;
        perform pg_sleep(rest);
    end loop;
end
$$;

\timing on
call messages_copy(:batch, :rest);
\timing off

-- Autovacuum analyzes each partition, but never the whole table. This gives the planner current statistics of the
-- whole.
vacuum (analyze) messages_partitioned;

\echo copied; comparing both tables, in one snapshot
select a.*, b.*, a is not distinct from b as is_equal
from (select count(*) as messages, bit_xor(hashtextextended(m::text, 0)) as sum from messages as m) as a
cross join (
    select count(*) as partitioned, bit_xor(hashtextextended(m::text, 0)) as partitioned_sum from messages_partitioned as m
) as b
\gset
\echo :messages messages, :partitioned in partitions
update messages_copied set is_complete = :'is_equal';
\if :is_equal
\echo they are the same; next: 3-swap.sql
\else
do $$ begin raise exception 'they differ: run undo.sql, and start again'; end $$;
\endif
