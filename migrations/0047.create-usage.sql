-- What each run of a model used and cost, kept whatever becomes of its conversation; and budgets, which limit that.
-- depends: 0046.keep-tries
-- locks: generations, access exclusive, a moment
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table if not exists usage (
    id uuid not null,
    user_id uuid,
    conversation_id uuid,
    kind varchar(10) not null,
    model_tag varchar(100) not null,
    server varchar(200),
    status varchar(12) not null,
    error_code varchar(50),
    started_at timestamptz not null,
    ended_at timestamptz not null default now(),
    day date not null default (now() at time zone 'utc'),
    prompt_tokens integer not null,
    cached_tokens integer not null,
    reasoning_tokens integer not null,
    completion_tokens integer not null,
    is_estimated boolean not null,
    milliseconds integer not null,
    cost numeric,
    currency varchar(3),
    price json,
    constraint usage_pkey primary key (id),
    constraint ck_usage_kind check (kind in ('send', 'regenerate', 'results', 'continue', 'title')),
    constraint ck_usage_status check (status in ('completed', 'stopped', 'failed', 'interrupted')),
    constraint ck_usage_cost check ((cost is null) = (currency is null))
) with (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

create index if not exists idx_usage_day
on usage (day, model_tag);

create index if not exists idx_usage_user_day
on usage (user_id, day) where user_id is not null;

comment on table usage is
'What each run of a model used: one row for each, written by the statement that ends it. No foreign keys: it outlives '
'conversations, and what is erased of a user leaves the numbers.';
comment on column usage.id is
'The id of the answer (generations.id), which may be gone by now. A title has an id of its own.';
comment on column usage.user_id is
'Who asked. Null: the user was erased.';
comment on column usage.conversation_id is
'Where it was asked; that conversation may be gone. Null: the user was erased.';
comment on column usage.kind is
'As generations.kind; or title, for a conversation''s title that a model made.';
comment on column usage.model_tag is
'The model that was asked, by its tag in MODELS_FILE. Without such a file: the conversation''s model_tag.';
comment on column usage.server is
'The model server that was asked last, by its name in MODELS_FILE. Null: none was, or its worker died.';
comment on column usage.status is
'How it ended, as generations.status. stopped also where its conversation was deleted meanwhile.';
comment on column usage.error_code is
'Why it failed or was cut, as generations.error_code.';
comment on column usage.started_at is
'When it was asked for.';
comment on column usage.ended_at is
'When it ended.';
comment on column usage.day is
'The day on which it ended, in UTC. Budgets and reports go by it.';
comment on column usage.prompt_tokens is
'Tokens that the model read, cached_tokens included.';
comment on column usage.cached_tokens is
'Those of prompt_tokens that the model server had computed before; 0 where it doesn''t say.';
comment on column usage.reasoning_tokens is
'Those of completion_tokens that are thinking; 0 where the model server doesn''t say.';
comment on column usage.completion_tokens is
'Tokens that the model generated, thinking included.';
comment on column usage.is_estimated is
'Whether the model server didn''t say prompt_tokens or completion_tokens. Then the prompt is estimated as a token for '
'four bytes, and the completion is what the stream had: usually a token a piece.';
comment on column usage.milliseconds is
'Milliseconds from the call of the model server to the end; 0 where its worker died.';
comment on column usage.cost is
'What it cost by the model''s price at that time. Null: the model had none.';
comment on column usage.currency is
'The currency of cost, by ISO 4217.';
comment on column usage.price is
'The price by which cost was computed: what a million tokens cost, {"currency","prompt","cached","completion"}.';

create table if not exists budgets (
    id uuid not null default chat_uuid7(),
    scope varchar(10) not null,
    user_id uuid,
    model_tag varchar(100),
    period varchar(5) not null,
    unit varchar(7) not null,
    currency varchar(3),
    amount numeric,
    constraint budgets_pkey primary key (id),
    constraint ck_budgets_scope check (
        scope in ('everybody', 'each', 'user') and (scope = 'user') = (user_id is not null)
    ),
    constraint ck_budgets_period check (period in ('day', 'week', 'month')),
    constraint ck_budgets_unit check (
        unit in ('tokens', 'cost', 'answers') and (unit = 'cost') = (currency is not null)
    ),
    constraint ck_budgets_amount check (amount >= 0 and amount < 'infinity'),
    constraint ck_budgets_exception check (amount is not null or scope = 'user')
);

create unique index if not exists uq_budgets_subject
on budgets (
    coalesce(user_id, '00000000-0000-0000-0000-000000000000'),
    scope,
    coalesce(model_tag, ''),
    period,
    unit,
    coalesce(currency, '')
);

comment on table budgets is
'What may be used: of tokens, money or answers, in a calendar day, week or month (UTC). Whoever has used that much '
'gets no further answer until the next one begins. A change counts at once, with what was used before.';
comment on column budgets.id is
'What chat-api budget remove takes.';
comment on column budgets.scope is
'Whose budget it is: everybody, all users together; each, every user by itself; user, the one user in user_id, in '
'place of a budget of the same model, period and unit for each.';
comment on column budgets.user_id is
'The user, for the scope user.';
comment on column budgets.model_tag is
'The model, as usage.model_tag; null: all models together.';
comment on column budgets.period is
'A calendar day, week (it begins on Monday) or month, in UTC.';
comment on column budgets.unit is
'Of what it is: tokens (of prompts and completions), cost (in currency) or answers (not those that failed without a '
'word).';
comment on column budgets.currency is
'For the unit cost: by ISO 4217. What costs something in another currency isn''t counted.';
comment on column budgets.amount is
'How much. Null, for the scope user: no limit.';

-- No nulls, since they are looked up by all of these.
create table if not exists spending (
    user_id uuid not null,
    model_tag varchar(100) not null,
    period varchar(5) not null,
    unit varchar(7) not null,
    currency varchar(3) not null,
    began date not null,
    spent numeric not null,
    constraint spending_pkey primary key (user_id, model_tag, period, unit, currency)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);

comment on table spending is
'The sums of usage that budgets are held against. May be emptied at any time: what is missing is summed up from usage '
'again.';
comment on column spending.user_id is 'Whose usage; the id of only zeros: everybody''s.';
comment on column spending.model_tag is 'Of which model, as usage.model_tag; an empty text: of all.';
comment on column spending.period is 'Of which period, as budgets.period.';
comment on column spending.unit is 'Of which unit, as budgets.unit.';
comment on column spending.currency is 'Of which currency, as budgets.currency; an empty text: of none.';
comment on column spending.began is
'The first day of the period that spent is about. Another one: spent means nothing now.';
comment on column spending.spent is 'What was used since then. What running answers may use isn''t in it.';

-- No defaults, so no rewrite.
alter table generations
add column if not exists model_tag varchar(100),
add column if not exists price json,
add column if not exists prompt_estimate integer,
add column if not exists max_tokens integer;

comment on column generations.holder_id is
'The user who asked. Null for answers of older releases.';
comment on column generations.model_tag is
'The model that was asked, as usage.model_tag. Null for answers of older releases.';
comment on column generations.price is
'The model''s price when it was asked, as usage.price; null: it had none.';
comment on column generations.prompt_estimate is
'About how many tokens the model had to read: a quarter of the bytes of the messages that it was sent.';
comment on column generations.max_tokens is
'The most tokens that the model was asked for. Budgets reserve this and prompt_estimate while it runs.';

create or replace function chat_cost(price json, prompt bigint, cached bigint, completion bigint) returns numeric
language sql immutable parallel safe
as $$
    select (
        greatest(prompt - cached, 0) * (price ->> 'prompt')::numeric
        + least(cached, prompt) * coalesce(price ->> 'cached', price ->> 'prompt')::numeric
        + completion * (price ->> 'completion')::numeric
    ) / 1000000
$$;

comment on function chat_cost(json, bigint, bigint, bigint) is
'What so many tokens cost at a price (usage.price). Null: there is no price.';

create or replace function chat_period(period varchar) returns date
language sql stable
as $$
    select date_trunc(period, now() at time zone 'utc')::date
$$;

comment on function chat_period(varchar) is
'The first day of the current day, week or month, in UTC.';

-- Whose budget it is in fact: of the scope each, the one user's. No row type of the table, which may get a DBA's
-- columns.
do $$
begin
    if to_regtype('chat_budget') is null then
        create type chat_budget as (
            scope varchar,
            user_id uuid,
            model_tag varchar,
            period varchar,
            unit varchar,
            currency varchar,
            amount numeric
        );
    end if;
end
$$;

comment on type chat_budget is
'A budget that a user is held against: as a row of budgets, but user_id is null only for everybody''s.';

-- Everybody's first, then the user's: always in this order, so that statements that lock the same sums never wait for
-- each other.
create or replace function chat_budgets(whose uuid, model varchar) returns setof chat_budget
language sql stable
as $$
    select
        b.scope, case when b.scope <> 'everybody' then whose end, b.model_tag, b.period, b.unit, b.currency, b.amount
    from budgets as b
    where
        coalesce(b.user_id, '00000000-0000-0000-0000-000000000000') in ('00000000-0000-0000-0000-000000000000', whose)
        and (b.model_tag is null or model is null or b.model_tag = model)
        and not (
            b.scope = 'each'
            and exists (
                select from budgets as own
                where
                    coalesce(own.user_id, '00000000-0000-0000-0000-000000000000') = whose
                    and own.period = b.period
                    and own.unit = b.unit
                    and coalesce(own.model_tag, '') = coalesce(b.model_tag, '')
                    and coalesce(own.currency, '') = coalesce(b.currency, '')
            )
        )
        and b.amount is not null
    order by b.scope <> 'everybody', b.model_tag, b.period, b.unit, b.currency
$$;

comment on function chat_budgets(uuid, varchar) is
'The budgets that a user''s answer by this model is held against: everybody''s, the user''s own, and those for each '
'user of which the user has no other. A null model: those of all models.';

-- Of the budget, the unit, the model and the currency count here: whose it is, the caller has seen.
create or replace function chat_amount(used usage, budget chat_budget) returns numeric
language sql immutable parallel safe
as $$
    select case
        when used.id is null or used.model_tag <> budget.model_tag then 0
        when budget.unit = 'tokens' then used.prompt_tokens::bigint + used.completion_tokens
        when budget.unit = 'cost' then case when used.currency = budget.currency then used.cost else 0 end
        when used.kind = 'title' or (used.status = 'failed' and used.completion_tokens = 0) then 0
        else 1
    end
$$;

comment on function chat_amount(usage, chat_budget) is
'How much of a budget a run has used; 0 of no run.';

create or replace function chat_used(budget chat_budget) returns numeric
language sql stable
as $$
    select case
        when budget.user_id is null
            then (
                select coalesce(sum(chat_amount(u, budget)), 0)
                from usage as u
                where u.day >= chat_period(budget.period)
            )
        else (
            select coalesce(sum(chat_amount(u, budget)), 0)
            from usage as u
            where u.user_id = budget.user_id and u.day >= chat_period(budget.period)
        )
    end
$$;

comment on function chat_used(chat_budget) is
'How much of a budget was used in the current period, summed up from usage.';

create or replace function chat_spent(budget chat_budget) returns numeric
language sql stable
as $$
    select coalesce(
        (
            select s.spent
            from spending as s
            where
                s.user_id = coalesce(budget.user_id, '00000000-0000-0000-0000-000000000000')
                and s.model_tag = coalesce(budget.model_tag, '')
                and s.period = budget.period
                and s.unit = budget.unit
                and s.currency = coalesce(budget.currency, '')
                and s.began = chat_period(budget.period)
        ),
        chat_used(budget)
    )
$$;

comment on function chat_spent(chat_budget) is
'As chat_used, but from the sum in spending where there is one.';

create or replace function chat_may_use(run generations, budget chat_budget) returns numeric
language sql stable
as $$
    select case
        when run.model_tag <> budget.model_tag then 0
        when budget.unit = 'tokens' then coalesce(run.prompt_estimate, 0)::bigint + coalesce(run.max_tokens, 0)
        when budget.unit = 'answers' then 1
        when run.price ->> 'currency' = budget.currency
            then chat_cost(run.price, run.prompt_estimate, 0, run.max_tokens)
        else 0
    end
$$;

comment on function chat_may_use(generations, chat_budget) is
'How much of a budget a running answer may use.';

create or replace function chat_reserved(budget chat_budget) returns numeric
language sql stable
as $$
    select case
        when budget.user_id is null
            then (
                select coalesce(sum(chat_may_use(g, budget)), 0)
                from generations as g
                where g.status = 'running'
            )
        else (
            select coalesce(sum(chat_may_use(g, budget)), 0)
            from generations as g
            where g.holder_id = budget.user_id and g.finished_at is null
        )
    end
$$;

comment on function chat_reserved(chat_budget) is
'What running answers may use of a budget.';

create or replace function chat_budget_state(budget chat_budget, spent numeric) returns json
language sql stable
as $$
    select json_build_object(
        'scope', budget.scope,
        'model', budget.model_tag,
        'period', budget.period,
        'unit', budget.unit,
        'currency', budget.currency,
        'amount', budget.amount,
        'spent', spent,
        'reserved', r.reserved,
        'left', greatest(budget.amount - spent - r.reserved, 0),
        'begins_anew', to_char(e.at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
        'seconds', ceil(extract(epoch from e.at - now() at time zone 'utc'))
    )
    from (select chat_period(budget.period) + ('1 ' || budget.period)::interval as at) as e
    cross join chat_reserved(budget) as r (reserved)
$$;

comment on function chat_budget_state(chat_budget, numeric) is
'A budget as clients see it: how much is left of it, and when its next period begins.';

-- PostgreSQL searches temporary tables first unless pg_temp is named, so it is named last. Otherwise a caller's
-- temporary table of the same name as one of these would have its triggers run with the owner's rights.
do $$
begin
    perform set_config(
        'search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), 'pg_temp'), true
    );
end
$$;

-- Locks a sum until the end of the transaction, makes it that of the current period, adds to it and returns it. A sum
-- that is missing, or that of another period, is taken from usage, where what is added must be by then.
create or replace function chat_spend(budget chat_budget, added numeric) returns numeric
language plpgsql volatile
set search_path from current
as $$
declare
    since constant date := chat_period(budget.period);
    total numeric;
begin
    update spending as s
    set spent = s.spent + added
    where
        s.user_id = coalesce(budget.user_id, '00000000-0000-0000-0000-000000000000')
        and s.model_tag = coalesce(budget.model_tag, '')
        and s.period = budget.period
        and s.unit = budget.unit
        and s.currency = coalesce(budget.currency, '')
        and s.began = since
    returning s.spent into total;
    if total is null then
        insert into spending as s (user_id, model_tag, period, unit, currency, began, spent)
        values (
            coalesce(budget.user_id, '00000000-0000-0000-0000-000000000000'), coalesce(budget.model_tag, ''),
            budget.period, budget.unit, coalesce(budget.currency, ''), since, chat_used(budget)
        )
        on conflict (user_id, model_tag, period, unit, currency) do update
        set
            began = since,
            -- Another statement has made it meanwhile: it hasn't seen what is added here.
            spent = case when s.began = since then s.spent + added else excluded.spent end
        returning s.spent into total;
    end if;
    return total;
end
$$;

comment on function chat_spend(chat_budget, numeric) is
'Adds to the sum that a budget is held against, and returns the sum.';

-- A function, because each statement in it sees what was committed before it, and so what others did until this one got
-- the locks. It runs with its owner's rights, as chat_admit does and for the same reasons. The answer itself isn't
-- counted yet: an answer may begin as long as anything is left, so that the last of a budget can be used.
create or replace function chat_afford(
    in whose uuid, in conversation uuid, in key varchar, in model varchar, out refused_by json, out is_crowded boolean
)
language plpgsql volatile
security definer
set search_path from current
as $$
declare
    budget chat_budget;
    spent numeric;
    is_alone boolean;
begin
    is_crowded := false;
    -- The first round serves the common refusal, which then waits for nothing and writes nothing.
    foreach is_alone in array array[false, true] loop
        if is_alone then
            -- As generations.finish does, before it locks a sum: otherwise the two could deadlock. From here on, no other
            -- answer starts in this conversation.
            perform from conversations where id = conversation for no key update;
            is_crowded := exists (
                select from generations
                where conversation_id = conversation and (status = 'running' or idempotency_key = key)
            );
            if is_crowded then
                return;
            end if;
        end if;
        for budget in select * from chat_budgets(whose, model) loop
            spent := case when is_alone then chat_spend(budget, 0) else chat_spent(budget) end;
            -- What is reserved is added up only where it decides.
            if spent >= budget.amount or (is_alone and spent + chat_reserved(budget) >= budget.amount) then
                refused_by := chat_budget_state(budget, spent);
                return;
            end if;
        end loop;
    end loop;
end
$$;

comment on function chat_afford(uuid, uuid, varchar, varchar) is
'Whether all budgets that a new answer is held against have something left, beside what running answers may use; '
'called by generations.start. Their sums stay locked until its end, so that no two answers take the same rest. '
'refused_by: the budget that has nothing left. is_crowded: another answer has just started in this conversation, or '
'with this key.';

create or replace function chat_budget_states(whose uuid) returns setof json
language sql stable
security definer
set search_path from current
as $$
    select chat_budget_state(b, chat_spent(b)) from chat_budgets(whose, null) as b
$$;

comment on function chat_budget_states(uuid) is
'The budgets that a user''s answers are held against, and what is left of each.';

create or replace function chat_tokens(counted json, kind text) returns integer
language sql immutable parallel safe
as $$
    select case
        when json_typeof(counted -> kind) = 'number'
            then least(greatest((counted ->> kind)::numeric, 0), 2147483647)::integer
    end
$$;

comment on function chat_tokens(json, text) is
'One number of generations.usage; null: the model server didn''t say.';

create or replace function chat_use(
    run uuid, whose uuid, conversation uuid, kind varchar, model varchar, server varchar, status varchar,
    error varchar, began timestamptz, took integer, price json, counted json, said integer, prompt_estimate integer
) returns void
language plpgsql volatile
security definer
set search_path from current
as $$
declare
    used usage;
    known usage;
    budget chat_budget;
begin
    used.id := run;
    used.user_id := whose;
    used.conversation_id := conversation;
    used.kind := kind;
    used.model_tag := model;
    used.server := left(server, 200);
    used.status := status;
    used.error_code := error;
    used.started_at := began;
    used.milliseconds := took;
    used.price := price;
    -- Of a run that failed before the model said anything, nobody knows that it read the prompt.
    used.prompt_tokens := coalesce(
        chat_tokens(counted, 'prompt_tokens'),
        case when status = 'failed' and said = 0 then 0 else prompt_estimate end,
        0
    );
    used.cached_tokens := coalesce(chat_tokens(counted, 'cached_tokens'), 0);
    used.reasoning_tokens := coalesce(chat_tokens(counted, 'reasoning_tokens'), 0);
    used.completion_tokens := coalesce(chat_tokens(counted, 'completion_tokens'), said, 0);
    used.is_estimated :=
        chat_tokens(counted, 'prompt_tokens') is null or chat_tokens(counted, 'completion_tokens') is null;
    used.cost := chat_cost(price, used.prompt_tokens, used.cached_tokens, used.completion_tokens);
    used.currency := case when used.cost is not null then price ->> 'currency' end;

    insert into usage (
        id, user_id, conversation_id, kind, model_tag, server, status, error_code, started_at, prompt_tokens,
        cached_tokens, reasoning_tokens, completion_tokens, is_estimated, milliseconds, cost, currency, price
    )
    values (
        used.id, used.user_id, used.conversation_id, used.kind, used.model_tag, used.server, used.status,
        used.error_code, used.started_at, used.prompt_tokens, used.cached_tokens, used.reasoning_tokens,
        used.completion_tokens, used.is_estimated, used.milliseconds, used.cost, used.currency, used.price
    )
    on conflict (id) do nothing;
    if not found then
        select u.* into known from usage as u where u.id = run for update;
        update usage as u
        set
            server = coalesce(used.server, u.server),
            status = used.status,
            error_code = used.error_code,
            prompt_tokens = used.prompt_tokens,
            cached_tokens = used.cached_tokens,
            reasoning_tokens = used.reasoning_tokens,
            completion_tokens = used.completion_tokens,
            is_estimated = used.is_estimated,
            milliseconds = used.milliseconds,
            cost = used.cost,
            currency = used.currency
        where u.id = run;
    end if;

    for budget in select * from chat_budgets(whose, model) loop
        perform chat_spend(budget, chat_amount(used, budget) - chat_amount(known, budget));
    end loop;
end
$$;

comment on function chat_use(
    uuid, uuid, uuid, varchar, varchar, varchar, varchar, varchar, timestamptz, integer, json, json, integer, integer
) is
'Notes what a run used, once for each id; a second call corrects the first. The tokens are taken from what the model '
'server counted (generations.usage), else from the tokens that it said and the estimate of its prompt.';

-- Not for public: with the owner's rights, any caller could use up somebody else's budget, or read it.
revoke execute on function chat_afford(uuid, uuid, varchar, varchar) from public;
revoke execute on function chat_budget_states(uuid) from public;
revoke execute on function chat_use(
    uuid, uuid, uuid, varchar, varchar, varchar, varchar, varchar, timestamptz, integer, json, json, integer, integer
) from public;

insert into service_rights (object, privilege, columns) values
('usage', 'select', '{}'),
('usage', 'update', '{user_id, conversation_id}'),
('budgets', 'select', '{}'),
('budgets', 'insert', '{}'),
('budgets', 'update', '{amount}'),
('budgets', 'delete', '{}'),
('spending', 'select', '{}'),
('spending', 'delete', '{}'),
('chat_afford(uuid, uuid, varchar, varchar)', 'execute', '{}'),
('chat_budget_states(uuid)', 'execute', '{}'),
(
    'chat_use(uuid,uuid,uuid,varchar,varchar,varchar,varchar,varchar,timestamptz,integer,json,json,integer,integer)',
    'execute',
    '{}'
)
on conflict (object, privilege) do update set columns = excluded.columns;

update service_rights
set columns = columns || '{model_tag, price, prompt_estimate, max_tokens}'
where
    object = 'generations'
    and privilege in ('insert', 'update')
    and not columns @> '{model_tag, price, prompt_estimate, max_tokens}';

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
