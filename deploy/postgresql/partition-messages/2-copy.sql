-- Copies what messages holds to messages_partitioned, conversation by conversation, in batches that are committed one by
-- one. Broken off, it goes on where it was. Slower, to leave the disk to others: -v rest=0.5 (seconds after each batch).
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

create or replace procedure messages_copy(batch integer, rest double precision) language plpgsql as $$
declare
    at messages_copied;
    copied bigint;
begin
    loop
        select * into strict at from messages_copied for update;
        -- Locked: whoever deletes one of these waits for its copy, and then deletes that as well. A batch waits for
        -- a deletion in the same way, and doesn't see the row any more.
        with part as materialized (
            select m.*
            from messages as m
            where (m.conversation_id, m.created_at, m.id) > (at.conversation_id, at.created_at, at.id)
            order by m.conversation_id, m.created_at, m.id
            limit batch
            for key share
        ),
        written as (
            insert into messages_partitioned select part.* from part on conflict do nothing
        )
        select count(*), (array_agg(p.conversation_id order by n desc))[1], (array_agg(p.created_at order by n desc))[1],
            (array_agg(p.id order by n desc))[1]
        into copied, at.conversation_id, at.created_at, at.id
        from (select conversation_id, created_at, id, row_number() over () as n from part) as p;
        exit when copied = 0;
        update messages_copied set conversation_id = at.conversation_id, created_at = at.created_at, id = at.id,
            messages = messages + copied;
        commit;
        perform pg_sleep(rest);
    end loop;
    update messages_copied set is_complete = true;
end
$$;

\timing on
call messages_copy(:batch, :rest);
\timing off

-- Autovacuum looks at each partition, and never at all of them together: the planner's figures of the whole are of now.
vacuum (analyze) messages_partitioned;

\echo copied; the two lines must be equal, of one moment (this reads both tables):
select 'messages' as table, count(*), bit_xor(hashtextextended(m::text, 0)) as sum from messages as m
union all
select 'messages_partitioned', count(*), bit_xor(hashtextextended(m::text, 0)) from messages_partitioned as m;
\echo next: 3-swap.sql
