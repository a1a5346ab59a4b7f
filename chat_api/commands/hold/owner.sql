-- Who may set and lift holds, and who is asking. No row: the table isn't there, or this role can't see it.
select -- hold.owner
    pg_get_userbyid(relowner) as owner,
    current_user as role,
    pg_has_role(relowner, 'usage') as is_owner
from pg_class
where oid = to_regclass('legal_hold');
