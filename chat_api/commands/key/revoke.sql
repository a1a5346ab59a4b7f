-- Deletes a key. No row: there is none.
delete from api_keys -- key.revoke
where id = %(id)s
returning
    id,
    user_id,
    name,
    shown,
    scopes,
    created_at,
    expires_at,
    last_used_at;
