-- name: find(digest)^
-- The API key with this digest, where AUTH names keys. Once a minute per key and worker, while it is used: workers
-- remember it for so long. No row: there is none, or it has expired. `is_unnoted`: its use is to be noted
-- (keys.note_use). uq_api_keys_digest.
select -- keys.find
    id,
    user_id,
    scopes,
    cast(coalesce(extract(epoch from expires_at), 'infinity') as double precision) as expires_at,
    last_used_at is null or last_used_at < now() - interval '50 seconds' as is_unnoted
from api_keys
where digest = :digest and (expires_at is null or expires_at > now());

-- name: note_use(id)^
-- Notes that a key is used, about once a minute. A statement of its own, because a database that takes no writes still
-- answers keys.find. Primary key. No row: it has been revoked, or another worker has just noted it.
update api_keys -- keys.note_use
set last_used_at = now()
where id = :id and (last_used_at is null or last_used_at < now() - interval '50 seconds')
returning id;

-- name: forget(user_id)^
-- Deletes all keys and tickets of a user whose data is deleted. Runs by hand (`chat-api user delete`). A worker that
-- has used a key lately believes it for another minute. idx_api_keys_user; `tickets` is small.
with revoked as ( -- keys.forget
    delete from api_keys
    where user_id = :user_id
    returning id
),

voided as (
    delete from tickets
    where user_id = :user_id
    returning digest
)

select
    (select count(*) from revoked) as keys,
    (select count(*) from voided) as tickets;
