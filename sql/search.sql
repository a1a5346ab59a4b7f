-- name: find(user_id, words, before_said_at, before_conversation_id, before_position, max_items, max_texts, max_entries)^
-- What a user's titles and messages say: titles first, then messages, the newest first. Runs with each pause while somebody types.
-- Walks search_entries_pkey from the given place (nulls: from the top), in the index alone where vacuum has been, and reads
-- the texts that the signatures let pass: by idx_messages_conversation_position, else by idx_inactive_messages_position. It stops at
-- `max_items` found, `max_texts` read or `max_entries` passed, whichever comes first. `items` is JSON. `next_said_at`,
-- `next_conversation_id` and `next_position` are where to go on; nulls: nothing is left.
with query as materialized ( -- search.find
    select
        needed,
        unwanted,
        probes
    from chat_search_query(:words)
),

entries as (
    select
        e.said_at,
        e.conversation_id,
        e.position,
        e.signature,
        row_number() over (order by e.said_at desc, e.conversation_id desc, e.position desc) as n
    from (
        select
            said_at,
            conversation_id,
            position,
            signature
        from search_entries
        where
            user_id = :user_id
            and (said_at, conversation_id, position) < (
                coalesce(cast(:before_said_at as timestamptz), 'infinity'),
                coalesce(cast(:before_conversation_id as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff'),
                coalesce(cast(:before_position as bigint), 9223372036854775807)
            )
        order by said_at desc, conversation_id desc, position desc
        limit :max_entries
    ) as e
),

-- The last entry is one of them in any case, so that its place is known.
candidates as materialized (
    select
        e.n,
        e.said_at,
        e.conversation_id,
        e.position
    from query as q
    cross join entries as e
    where
        cardinality(q.needed) > 0
        and (
            e.n = :max_entries
            or not exists (
                select from unnest(q.probes) as probe
                where get_bit(e.signature, probe % (8 * octet_length(e.signature))) = 0
            )
        )
    limit :max_texts -- noqa: AM09
),

found as materialized (
    select
        c.n,
        c.said_at,
        c.conversation_id,
        c.position,
        s.found_in,
        s.message_id,
        s.role,
        s.is_active,
        s.created_at,
        s.content
    from query as q
    cross join candidates as c
    cross join lateral chat_find_said(:user_id, c.conversation_id, c.position, q.needed, q.unwanted) as s
    limit :max_items -- noqa: AM09
),

-- Where it stopped.
stop as (
    select
        said_at,
        conversation_id,
        position
    from (
        (
            select
                said_at,
                conversation_id,
                position
            from found
            where (select count(f.n) from found as f) = :max_items
            order by n desc
            limit 1
        )
        union all
        (
            select
                said_at,
                conversation_id,
                position
            from candidates
            where
                (select count(f.n) from found as f) < :max_items
                and (n = :max_entries or (select count(c.n) from candidates as c) = :max_texts)
            order by n desc
            limit 1
        )
    ) as s
)

select
    stop.said_at as next_said_at,
    stop.conversation_id as next_conversation_id,
    stop.position as next_position,
    (
        select
            cast(
                coalesce(
                    json_agg(
                        json_build_object(
                            'conversation', f.found_in,
                            'message_id', f.message_id,
                            'role', f.role,
                            'is_active', f.is_active,
                            'snippet', chat_snippet(f.content, q.needed),
                            'created_at', f.created_at
                        )
                        order by f.n
                    ),
                    '[]'
                ) as text
            )
        from found as f
    ) as items
from query as q
left join stop on true
where (select chat_for_user(:user_id, null));
