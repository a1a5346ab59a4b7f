-- Sets a hold. No row: there is one for this subject already. `conversations` is how many it keeps now.
insert into legal_hold (user_id, conversation_id, reason, held_by) -- hold.set
values (%(user_id)s, %(conversation_id)s, %(reason)s, coalesce(%(held_by)s, current_user))
on conflict do nothing
returning
    id,
    user_id,
    conversation_id,
    since,
    reason,
    held_by,
    (
        select count(*)
        from conversations as c
        where c.id = legal_hold.conversation_id or c.user_id = legal_hold.user_id
    ) as conversations;
