-- name: prune(max_rows)^
-- Deletes allowances that are whole again, which says the same as no row; `pruned`: how many of at most `max_rows`. The
-- eldest worker once a minute, while a rate is limited. Reads the whole table, which holds whoever sent something within the
-- longest period: an index on full_at would make each message sent write into it.
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
