-- All keys, or one user's, the oldest first.
select -- key.list
    id,
    user_id,
    name,
    shown,
    scopes,
    created_at,
    expires_at,
    last_used_at
from api_keys
where %(user_id)s::uuid is null or user_id = %(user_id)s
order by created_at, id;
