-- What stores the messages of an imported conversation (POST /api/import). No row is changed.
-- depends: 0098.fill-search
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create or replace function chat_bring(whose uuid, target uuid, brought json) returns integer
language plpgsql
as $$
declare
    stored integer;
begin
    -- The conversation was created by the statement that calls this; row-level security sees it from here on.
    perform chat_for_user(whose, target);
    with numbered as materialized (
        select
            m.place, m.parent, m.is_active, m.has_versions, m.role, m.content, m.reasoning, m.model_tag, m.created_at,
            m.finish_reason, m.token_count, m.inference_time_ms, m.tool_calls, m.tool_call_id, m.usage, m.is_refused,
            nextval('chat_position') as position
        from (
            select
                place, parent, is_active, has_versions, role, content, reasoning, model_tag, created_at, finish_reason,
                token_count, inference_time_ms, tool_calls, tool_call_id, usage, is_refused
            from json_to_recordset(brought) as b (
                place integer, parent integer, is_active boolean, has_versions boolean, role varchar(20), content text,
                reasoning text, model_tag varchar(100), created_at timestamptz, finish_reason varchar(20),
                token_count integer, inference_time_ms integer, tool_calls json, tool_call_id text, usage json,
                is_refused boolean
            )
            order by place
        ) as m
    ),

    placed as materialized (
        select
            n.place, n.is_active, n.has_versions, n.role, n.content, n.reasoning, n.model_tag, n.created_at,
            n.finish_reason, n.token_count, n.inference_time_ms, n.tool_calls, n.tool_call_id, n.usage, n.is_refused,
            n.position,
            coalesce(p.position, 0) as after_position
        from numbered as n
        left join numbered as p on n.parent = p.place
    ),

    active as (
        insert into messages (
            id, conversation_id, role, content, reasoning, model_tag, created_at, finish_reason, token_count,
            inference_time_ms, tool_calls, tool_call_id, usage, is_refused, position, parent_position
        )
        select
            chat_uuid7(), target, role, content, reasoning, model_tag, created_at, finish_reason, token_count,
            inference_time_ms, tool_calls, tool_call_id, usage, is_refused, position,
            case when has_versions then after_position end
        from placed
        where is_active
        order by place
    ),

    inactive as (
        insert into inactive_messages (
            id, conversation_id, role, content, reasoning, model_tag, created_at, finish_reason, token_count,
            inference_time_ms, tool_calls, tool_call_id, usage, is_refused, position, parent_position
        )
        select
            chat_uuid7(), target, role, content, reasoning, model_tag, created_at, finish_reason, token_count,
            inference_time_ms, tool_calls, tool_call_id, usage, is_refused, position, after_position
        from placed
        where not is_active
        order by place
    )

    select count(*) into stored from placed;
    perform chat_for_user(whose, null);
    return stored;
end
$$;

comment on function chat_bring(uuid, uuid, json) is
'Stores the messages of a conversation that was just created for a user, and returns their number. brought: '
'[{"place","parent","is_active","has_versions",…}], numbered from 1, each behind the one that it comes after '
'(parent; 0: none); the rest are columns of messages.';

insert into service_rights (object, privilege, columns)
values ('chat_bring(uuid, uuid, json)', 'execute', '{}')
on conflict do nothing;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
