-- What retention asks for: the ids that are older than a given time.
-- depends: 0013.say-for-whom
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- No index on times is needed where ids are time-ordered. Stable, as now() in its place: a plan may walk an index by it.
create or replace function chat_uuid7_at(at timestamptz) returns uuid
language sql stable parallel safe
as $$
    select rpad(lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;

comment on function chat_uuid7_at(timestamptz) is
'The smallest value of that millisecond: ids that chat_uuid7() made earlier are less, those from then on are not.';

insert into service_rights (object, privilege) values
('chat_uuid7_at(timestamptz)', 'execute'),
('generations', 'delete')
on conflict (object, privilege) do nothing;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
