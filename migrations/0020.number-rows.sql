-- Numbers the messages and generations from before 0018 and 0019, once, in the order in which they were read until now: -n to -1
-- in each conversation, so that every new row comes after them. Online: fifty conversations in a transaction, for which
-- whatever writes to one of them waits. Can be interrupted and run again. Each of these rows
-- is written once more: run "vacuum messages" afterwards where the table is large.
-- depends: 0019.add-generation-positions
-- locks: messages, row exclusive, reads every row
-- locks: generations, row exclusive, reads every row
-- transactional: false
-- squawk-disable-assume-in-transaction

set lock_timeout = '30s';
set statement_timeout = '24h';

do $$
declare
    batch uuid[];
    behind uuid := '00000000-0000-0000-0000-000000000000';
begin
    loop
        -- Locked first, as everything that writes to several rows of a conversation does: otherwise this and a deletion
        -- could deadlock.
        select array_agg(id) into batch
        from (
            select id from conversations where id > behind order by id limit 50 for no key update
        ) as c;
        exit when batch is null;

        update messages as m
        set position = n.position
        from (
            select
                id,
                conversation_id,
                row_number() over (partition by conversation_id order by created_at, id)
                - count(*) over (partition by conversation_id) - 1 as position
            from messages
            where conversation_id = any(batch) and position is null
        ) as n
        where m.id = n.id and m.conversation_id = n.conversation_id;

        update generations as g
        set position = n.position
        from (
            select
                id,
                row_number() over (partition by conversation_id order by started_at, id)
                - count(*) over (partition by conversation_id) - 1 as position
            from generations
            where conversation_id = any(batch) and position is null
        ) as n
        where g.id = n.id;

        behind := batch[cardinality(batch)];
        commit;
    end loop;
end
$$;
