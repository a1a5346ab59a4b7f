-- Loses nothing: only the owner of the tables can import then.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

update service_rights
set
    columns = array(
        select c.name
        from unnest(columns) as c (name)
        where c.name <> all(cast('{id, is_favorited, created_at, updated_at, version}' as text[]))
    )
where object = 'conversations' and privilege = 'insert';

update service_rights
set columns = array_remove(array_remove(columns, 'id'), 'created_at')
where object = 'queued_messages' and privilege = 'insert';

update service_rights
set columns = array_remove(array_remove(columns, 'own_message_id'), 'started_at')
where object = 'generations' and privilege = 'insert';
