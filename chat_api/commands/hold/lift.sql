-- Lifts a hold. No row: there is none on this.
delete from legal_hold -- hold.lift
where user_id = %(user_id)s or conversation_id = %(conversation_id)s
returning
    id,
    user_id,
    conversation_id,
    since,
    reason,
    held_by;
