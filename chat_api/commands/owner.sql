-- Who owns a table, and who is asking. No row: the table isn't there, or this role can't see it.
select -- commands.owner
    pg_get_userbyid(relowner) as owner,
    current_user as role,
    pg_has_role(relowner, 'usage') as is_owner
from pg_class
where oid = to_regclass(%(name)s);
