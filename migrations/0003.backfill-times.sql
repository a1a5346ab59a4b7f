-- Times that an adopted database left null. Only such rows are written, and they are few: the columns always had a
-- default. New nulls can't come in between, the checks of 0001 and 0002 are in force.
-- depends: 0002.adopt-messages
-- locks: messages, row exclusive, reads every row
-- locks: conversations, row exclusive, reads every row

set local lock_timeout = '5s';
set local statement_timeout = '30min';

-- Null sorted last so far, so an undated message keeps its place: next after the last dated one.
update messages set
    created_at = coalesce(
        (
            select max(dated.created_at) + interval '1 microsecond' from messages as dated
            where dated.conversation_id = messages.conversation_id
        ),
        (
            select coalesce(conversations.created_at, conversations.updated_at) from conversations
            where conversations.id = messages.conversation_id
        ),
        now()
    )
where created_at is null;

-- The right-hand sides see the row as it was; least() and greatest() pass over nulls.
update conversations set
    created_at = coalesce(
        created_at,
        least(
            updated_at,
            (
                select min(messages.created_at) from messages
                where messages.conversation_id = conversations.id
            )
        ),
        now()
    ),
    updated_at = coalesce(
        updated_at,
        greatest(
            created_at,
            (
                select max(messages.created_at) from messages
                where messages.conversation_id = conversations.id
            )
        ),
        now()
    )
where created_at is null or updated_at is null;
