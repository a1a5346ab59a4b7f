-- All holds, the oldest first.
select -- hold.list
    id,
    user_id,
    conversation_id,
    since,
    reason,
    held_by
from legal_hold
order by since, id;
