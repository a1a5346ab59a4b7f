-- Fills in times that an adopted database left null. It writes only such rows, and they are few: the columns always had
-- a default. No new nulls can appear meanwhile, because the checks of 0001 and 0002 are in force.
-- depends: 0002.adopt-messages
-- locks: messages, row exclusive, reads every row
-- locks: conversations, row exclusive, reads every row

set local lock_timeout = '5s';
set local statement_timeout = '30min';

-- Nulls sorted last until now, so an undated message keeps its place: right after the last dated one.
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

-- The right-hand sides see the row as it was before; least() and greatest() ignore nulls.
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
