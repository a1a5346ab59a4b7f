-- Switching to another version, and taking messages back, as functions: each looks again once it holds the lock. Copying to
-- another conversation, as one that row-level security lets write there.
-- depends: 0042.let-answers-go-on
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create or replace function chat_activate(conversation uuid, message uuid) returns varchar
language plpgsql
as $$
declare
    entering uuid[];
    branch bigint;
begin
    if exists (select from messages where id = message and conversation_id = conversation) then
        return 'updated';
    end if;

    -- Up to the active path, then down by the newest message each time.
    with recursive up (id, position, parent_position) as (
        select m.id, m.position, m.parent_position
        from inactive_messages as m
        where m.id = message and m.conversation_id = conversation
        union all
        select m.id, m.position, m.parent_position
        from up
        inner join inactive_messages as m on m.conversation_id = conversation and m.position = up.parent_position
    ),
    down (id, position) as (
        select m.id, m.position
        from inactive_messages as m
        where m.id = message and m.conversation_id = conversation
        union all
        select n.id, n.position
        from down
        cross join lateral (
            select m.id, m.position
            from inactive_messages as m
            where m.conversation_id = conversation and m.parent_position = down.position
            order by m.position desc
            limit 1
        ) as n
    )
    select
        array(select up.id from up union select down.id from down),
        (select up.parent_position from up order by up.position limit 1)
    into entering, branch;

    if branch is null then
        return 'no_message';
    end if;
    if exists (select from generations where conversation_id = conversation and status = 'running') then
        return 'running';
    end if;

    with leaving as (
        delete from messages as m
        where
            m.conversation_id = conversation
            and m.position > case when branch = 0 then -9223372036854775808 else branch end
        returning m.*
    )
    insert into inactive_messages (
        id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason,
        position, reasoning, tool_calls, tool_call_id, usage, is_refused, parent_position
    )
    select
        id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason,
        position, reasoning, tool_calls, tool_call_id, usage, is_refused,
        coalesce(parent_position, lag(position) over (order by position), branch)
    from leaving;

    with arriving as (
        delete from inactive_messages as m
        where m.id = any(entering) and m.conversation_id = conversation
        returning m.*
    )
    insert into messages (
        id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason,
        position, reasoning, tool_calls, tool_call_id, usage, is_refused, parent_position
    )
    select
        id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason,
        position, reasoning, tool_calls, tool_call_id, usage, is_refused,
        case
            when exists (
                select from inactive_messages as other
                where
                    other.conversation_id = conversation
                    and other.parent_position = a.parent_position
                    and other.id <> a.id
            ) then a.parent_position
        end
    from arriving as a;
    return 'switched';
end
$$;

comment on function chat_activate(uuid, uuid) is
'Makes the path through a message the active one, down to its newest end. The caller has locked the conversation''s '
'row. Returns switched, updated (it was the active one already), no_message (the conversation has none with this id), '
'or running: an answer is being written, and nothing was done.';

create or replace function chat_take_back(conversation uuid, message uuid) returns varchar
language plpgsql
as $$
declare
    place bigint;
    branch bigint;
    is_active boolean;
    gone_ids uuid[] := array[message];
    gone_positions bigint[];
begin
    select m.position, m.parent_position, m.is_active
    into place, branch, is_active
    from (
        select position, parent_position, true as is_active
        from messages
        where id = message and conversation_id = conversation
        union all
        select position, parent_position, false as is_active
        from inactive_messages
        where id = message and conversation_id = conversation
    ) as m;
    if place is null then
        return 'no_message';
    end if;

    gone_positions := array[place];
    if is_active then
        if exists (select from generations where conversation_id = conversation and status = 'running') then
            return 'running';
        end if;
        branch := coalesce(branch, (
            select m.position
            from messages as m
            where m.conversation_id = conversation and m.position < place
            order by m.position desc
            limit 1
        ), 0);
        with gone as (
            delete from messages as m
            where m.conversation_id = conversation and m.position >= place
            returning m.id, m.position
        )
        select array_agg(g.id), array_agg(g.position) into gone_ids, gone_positions from gone as g;
    end if;

    with recursive below (id, position) as (
        select m.id, m.position
        from inactive_messages as m
        where m.conversation_id = conversation and m.parent_position = any(gone_positions)
        union all
        select m.id, m.position
        from below
        inner join inactive_messages as m
            on m.conversation_id = conversation and m.parent_position = below.position
    ),
    gone as (
        delete from inactive_messages as m
        where m.conversation_id = conversation and m.id in (select message union all select b.id from below as b)
        returning m.id
    )
    select gone_ids || array_agg(g.id) into gone_ids from gone as g;

    delete from journal
    where generation_id in (
        select g.id
        from generations as g
        where
            g.conversation_id = conversation
            and (
                g.user_message_id = any(gone_ids)
                or g.message_id = any(gone_ids)
                or g.own_message_id = any(gone_ids)
            )
    );

    if is_active then
        perform chat_activate(conversation, newest.id)
        from (
            select m.id
            from inactive_messages as m
            where m.conversation_id = conversation and m.parent_position = branch
            order by m.position desc
            limit 1
        ) as newest;
    end if;
    return 'deleted';
end
$$;

comment on function chat_take_back(uuid, uuid) is
'Deletes a message and all that comes after it, in every version, with the events that late readers would get of it. '
'If it was on the active path, its newest other version takes its place. The caller has locked the conversation''s '
'row. Returns deleted, no_message or running, as chat_activate does.';

create or replace function chat_copy(whose uuid, source uuid, target uuid, message_ids uuid[]) returns uuid
language plpgsql
as $$
declare
    said json;
begin
    select json_agg(m order by m.position) into said
    from (
        select
            role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason, position, reasoning,
            tool_calls, tool_call_id, is_refused
        from messages
        where id = any(message_ids) and conversation_id = source
        union all
        select
            role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason, position, reasoning,
            tool_calls, tool_call_id, is_refused
        from inactive_messages
        where id = any(message_ids) and conversation_id = source
    ) as m;

    -- Row-level security lets a statement see and write what belongs to one conversation: up to here, to the other one.
    perform chat_for_user(whose, target);
    insert into messages (
        conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason, reasoning,
        tool_calls, tool_call_id, is_refused
    )
    select
        target, m.role, m.content, m.token_count, m.model_tag, m.inference_time_ms, m.created_at, m.finish_reason,
        m.reasoning, m.tool_calls, m.tool_call_id, m.is_refused
    from json_to_recordset(said) as m (
        role varchar(20), content text, token_count integer, model_tag varchar(100), inference_time_ms integer,
        created_at timestamptz, finish_reason varchar(20), position bigint, reasoning text, tool_calls json,
        tool_call_id text, is_refused boolean
    )
    order by m.position;
    perform chat_for_user(whose, source);
    return target;
end
$$;

comment on function chat_copy(uuid, uuid, uuid, uuid[]) is
'Copies messages of one conversation of a user to the end of another, in the order of their positions. Returns the '
'other.';

insert into service_rights (object, privilege) values
('chat_activate(uuid, uuid)', 'execute'),
('chat_copy(uuid, uuid, uuid, uuid[])', 'execute'),
('chat_take_back(uuid, uuid)', 'execute')
on conflict (object, privilege) do nothing;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
