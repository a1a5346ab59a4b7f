-- name: put(digest, user_id, seconds, token_expires_at)^
-- Stores the digest of a new ticket, which counts for so many seconds. Once per ticket. tickets_pkey.
insert into tickets (digest, user_id, expires_at, token_expires_at) -- tickets.put
values (:digest, :user_id, now() + make_interval(secs => :seconds), :token_expires_at)
returning digest;

-- name: take(digest)^
-- Takes a ticket: the row is deleted, so that of several workers that try at once only one gets it. Once per stream that
-- is attached to by a ticket. tickets_pkey. No row: there is none, it was taken, or it is too old.
delete from tickets -- tickets.take
where digest = :digest and expires_at > now()
returning user_id, token_expires_at;

-- name: prune(max_rows)^
-- Deletes tickets that nobody took in time. `pruned`: how many of at most `max_rows`. The eldest worker runs it once a
-- minute. Reads the whole table, which holds the tickets of about two minutes.
with pruned as ( -- tickets.prune
    delete from tickets
    where
        ctid = any(array(
            select ctid
            from tickets
            where expires_at < now()
            limit :max_rows -- noqa: AM09
            for update skip locked
        ))
    returning digest
)

select count(*) as pruned
from pruned;
