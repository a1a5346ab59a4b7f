-- Stores a new key, by its digest.
insert into api_keys (user_id, name, shown, digest, scopes, expires_at) -- key.create
values (
    %(user_id)s, %(name)s, %(shown)s, %(digest)s, %(scopes)s, now() + make_interval(days => %(days)s::integer)
)
returning
    id,
    user_id,
    name,
    shown,
    scopes,
    created_at,
    expires_at,
    last_used_at;
