-- name: of_user(user_id, first_day, last_day)^
-- What a user's answers and titles used from one day to another, by day, model and currency, and what is left of each budget
-- that they are held against, both as JSON. A null `last_day`: today, in UTC; a null `first_day`: that month's first. Runs
-- when a client asks for it. idx_usage_user_day, no other days; `budgets` is small; spending_pkey. `answers`: those that
-- failed without a word aren't counted. The budgets are as chat_budget_state in sql/schema.sql makes them.
with asked as ( -- usage.of_user
    select
        case
            when cast(:first_day as date) is null then cast(date_trunc('month', t.last_day) as date)
            else cast(:first_day as date)
        end as first_day,
        t.last_day
    from (select coalesce(cast(:last_day as date), chat_period('day')) as last_day) as t
)

select
    a.first_day,
    a.last_day,
    (
        select
            cast(
                coalesce(
                    json_agg(
                        json_build_object(
                            'day', d.day,
                            'model', d.model_tag,
                            'answers', d.answers,
                            'prompt_tokens', d.prompt_tokens,
                            'cached_tokens', d.cached_tokens,
                            'reasoning_tokens', d.reasoning_tokens,
                            'completion_tokens', d.completion_tokens,
                            'is_estimated', d.is_estimated,
                            'cost', d.cost,
                            'currency', d.currency
                        )
                        order by d.day, d.model_tag, d.currency
                    ), '[]'
                ) as text
            )
        from (
            select
                u.day,
                u.model_tag,
                u.currency,
                count(*) filter (
                    where u.kind <> 'title' and (u.status <> 'failed' or u.completion_tokens > 0)
                ) as answers,
                sum(u.prompt_tokens) as prompt_tokens,
                sum(u.cached_tokens) as cached_tokens,
                sum(u.reasoning_tokens) as reasoning_tokens,
                sum(u.completion_tokens) as completion_tokens,
                bool_or(u.is_estimated) as is_estimated,
                trim_scale(sum(u.cost)) as cost
            from usage as u
            where u.user_id = :user_id and u.day between a.first_day and a.last_day
            group by u.day, u.model_tag, u.currency
        ) as d
    ) as days,
    (
        select cast(coalesce(json_agg(s.state), '[]') as text)
        from chat_budget_states(:user_id) as s (state)
    ) as budgets
from asked as a
where (select chat_for_user(:user_id, null));

-- name: add_title(user_id, conversation_id, server, status, error_code, milliseconds, usage, token_count, billed)^
-- Notes what the model used that made a conversation's title, or failed to. Runs once per title, where TITLE_MODEL is set.
-- Primary key.
select -- usage.add_title
    chat_use(
        chat_uuid7(), :user_id, :conversation_id, 'title', cast(:billed as json) ->> 'model', :server, :status,
        :error_code, now() - make_interval(secs => cast(:milliseconds as integer) / 1000.0), :milliseconds,
        cast(:billed as json) -> 'price', :usage, :token_count,
        cast(cast(:billed as json) ->> 'prompt_estimate' as integer)
    ) as used;

-- name: correct(generation_id, tries, usage, token_count, milliseconds)^
-- Notes what an answer used whose conversation was deleted while it was being written: the deletion noted it before its
-- worker knew. Runs only then. Primary key. No row: the deletion was longer ago than the answer, or a failover lost it.
select -- usage.correct
    chat_use(
        u.id, u.user_id, u.conversation_id, u.kind, u.model_tag, cast(:tries as json) -> -1 ->> 'server', u.status,
        u.error_code, u.started_at, :milliseconds, u.price, :usage, :token_count, u.prompt_tokens
    ) as used
from usage as u
where u.id = :generation_id and (select chat_for_everyone());

-- name: forget(user_id, max_rows)^
-- Erases a user from up to `max_rows` rows of usage, whose numbers stay, and the user's own budgets. Runs by hand
-- (`chat-api user delete`), repeated until `forgotten` is less. What is on legal hold stays, and the budgets of a user who
-- is. idx_usage_user_day, idx_generations_unfinished_holder.
with batch as materialized ( -- usage.forget
    select id
    from usage
    where
        user_id = :user_id
        and not exists (
            select from legal_hold as h
            where usage.user_id = h.user_id or usage.conversation_id = h.conversation_id
        )
    limit :max_rows -- noqa: AM09
    for update
),

forgotten as (
    update usage as u
    set
        user_id = null,
        conversation_id = null
    from batch as b
    where u.id = b.id
    returning u.id
),

budgeted as (
    delete from budgets
    where
        user_id = :user_id
        and not exists (
            select from legal_hold as h
            where budgets.user_id = h.user_id
        )
),

summed as (
    delete from spending
    where user_id = :user_id
),

-- What still runs in a conversation that is being deleted in pieces.
unnamed as (
    update generations
    set holder_id = null
    where
        holder_id = :user_id
        and finished_at is null
        and not exists (
            select from legal_hold as h
            where generations.holder_id = h.user_id or generations.conversation_id = h.conversation_id
        )
)

select count(*) as forgotten
from forgotten
where (select chat_for_everyone());
