-- For administrators: a way to read the platform's users where they are in this database. That table belongs to the
-- platform, which may have it elsewhere, with other columns, or closed to this service. So no statement can name it.
-- depends: 0033.limits-by-the-clock
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- With the rights of the caller: what the platform hasn't granted to the service's role stays hidden from it. Each
-- column is looked for by itself. The only names in the statement that it makes are those of the table and of its
-- columns, quoted.
create or replace function chat_platform_users(max_rows integer, before_login_at timestamptz, before_id uuid)
returns table (
    id uuid, email text, name text, provider text, created_at timestamptz, last_login_at timestamptz
)
language plpgsql stable
as $$
declare
    wanted text;
begin
    if not chat_sees_platform_users() then
        return;
    end if;
    select string_agg(
        format(
            'cast(%s as %s) as %I',
            case
                when has_column_privilege(a.attrelid, a.attnum, 'select') then format('u.%I', w.attname)
                else 'null'
            end,
            w.type,
            w.attname
        ),
        ', ' order by w.place
    ) into strict wanted
    from (values
        (1, 'id', 'uuid'),
        (2, 'email', 'text'),
        (3, 'name', 'text'),
        (4, 'provider', 'text'),
        (5, 'created_at', 'timestamptz'),
        (6, 'last_login_at', 'timestamptz')
    ) as w (place, attname, type)
    left join pg_attribute as a
        on a.attrelid = to_regclass('users') and a.attname = w.attname and a.attnum > 0 and not a.attisdropped
        -- Any type can be read as text, but not as a time.
        and (w.type <> 'timestamptz' or a.atttypid in ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype));
    return query execute format(
        'select o.id, o.email, o.name, o.provider, o.created_at, o.last_login_at'
        ' from (select %s from %s as u) as o'
        ' where $3 is null or (coalesce(o.last_login_at, ''epoch''), o.id) < ($2, $3)'
        ' order by coalesce(o.last_login_at, ''epoch'') desc, o.id desc'
        ' limit $1',
        wanted,
        to_regclass('users')
    ) using max_rows, before_login_at, before_id;
end
$$;

comment on function chat_platform_users(integer, timestamptz, uuid) is
'The platform''s users, the last signed in first, as far as this role may read them; a column that is missing, or not '
'granted, is null. No row where chat_sees_platform_users() says no. It continues after the given user.';

create or replace function chat_sees_platform_users() returns boolean
language sql stable
as $$
    select exists (
        select from pg_attribute
        where attrelid = to_regclass('users') and attname = 'id' and atttypid = 'uuid'::regtype
            and attnum > 0 and not attisdropped and has_column_privilege(attrelid, attnum, 'select')
    )
$$;

comment on function chat_sees_platform_users() is
'Whether the platform''s table users is in this database, with ids that this role may read.';

insert into service_rights (object, privilege) values
('chat_platform_users(integer, timestamptz, uuid)', 'execute'),
('chat_sees_platform_users()', 'execute')
on conflict (object, privilege) do nothing;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
