-- What retention needs: the right to delete generations, and a way to find the ids that are older than a given time.
-- depends: 0013.say-for-whom
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Time-ordered ids need no index on a time. Stable, like the now() in its argument, so that a plan can use it to walk
-- an index.
create or replace function chat_uuid7_at(at timestamptz) returns uuid
language sql stable parallel safe
as $$
    select rpad(lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;

comment on function chat_uuid7_at(timestamptz) is
'The smallest id of that millisecond: ids that chat_uuid7() made earlier are less, later ones aren''t.';

insert into service_rights (object, privilege) values
('chat_uuid7_at(timestamptz)', 'execute'),
('generations', 'delete')
on conflict (object, privilege) do nothing;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
