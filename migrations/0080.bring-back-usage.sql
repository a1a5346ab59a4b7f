-- `chat-api user import` brings back rows of usage, by a function: the service's role has no right to write them.
-- depends: 0075.let-keys-leave
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- PostgreSQL searches temporary tables first unless pg_temp is named, so it is named last. Otherwise a caller's
-- temporary table of the same name as one of these would have its triggers run with the owner's rights.
do $$
begin
    perform set_config(
        'search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), 'pg_temp'), true
    );
end
$$;

create or replace function chat_use_again(whose uuid, run json) returns varchar
language plpgsql volatile
security definer
set search_path from current
as $$
declare
    used usage := json_populate_record(null::usage, run);
    is_new boolean;
    budget chat_budget;
begin
    insert into usage as u (
        id, user_id, conversation_id, kind, model_tag, server, status, error_code, started_at, ended_at, day,
        prompt_tokens, cached_tokens, reasoning_tokens, completion_tokens, is_estimated, milliseconds, cost, currency,
        price
    )
    values (
        used.id, whose, used.conversation_id, used.kind, used.model_tag, used.server, used.status, used.error_code,
        used.started_at, used.ended_at, used.day, used.prompt_tokens, used.cached_tokens, used.reasoning_tokens,
        used.completion_tokens, used.is_estimated, used.milliseconds, used.cost, used.currency, used.price
    )
    on conflict (id) do update
    set
        user_id = excluded.user_id,
        conversation_id = excluded.conversation_id
    where u.user_id is null
    returning u.xmax = '0' into is_new;

    if is_new is null then
        return case when exists (select from usage where id = used.id and user_id = whose) then 'there' else 'taken' end;
    end if;

    for budget in select * from chat_budgets(whose, used.model_tag) loop
        -- Everybody's budget has held what an erasure has left.
        if used.day >= chat_period(budget.period) and (is_new or budget.user_id is not null) then
            perform chat_spend(budget, chat_amount(used, budget));
        end if;
    end loop;
    return 'added';
end
$$;

comment on function chat_use_again(uuid, json) is
'Stores a row of usage of an export, and adds it to the sums of the budgets whose current period it is of. Returns '
'added; there: the user has it; or taken: another one has it. A row that an erasure has left gets its user back.';

-- As chat_use in 0047.
revoke execute on function chat_use_again(uuid, json) from public;

insert into service_rights (object, privilege, columns) values
('chat_use_again(uuid, json)', 'execute', '{}')
on conflict (object, privilege) do update set columns = excluded.columns;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
