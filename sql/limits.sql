-- name: prune(max_rows)^
-- Deletes allowances that are full again, which mean the same as no row. `pruned`: how many of at most `max_rows`. The
-- eldest worker runs it once a minute while a rate is limited; generations.start checks the limits. Reads the whole
-- table, which holds everyone who sent something lately: an index on full_at would add a write to each message sent.
with pruned as ( -- limits.prune
    delete from allowances
    where
        ctid = any(array(
            select ctid
            from allowances
            where full_at < now()
            limit :max_rows -- noqa: AM09
            for update skip locked
        ))
    returning name
)

select count(*) as pruned
from pruned;
