-- What was used, and the budgets, for those who may read reports.
-- depends: 0061.create-reports
-- locks: nothing

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- See 0061 on rights.
create or replace view chat_report.usage as
select
    u.day,
    u.user_id,
    cast(u.model_tag as text) as model,
    cast(u.server as text) as server,
    count(*) as runs,
    count(*) filter (where u.kind <> 'title' and (u.status <> 'failed' or u.completion_tokens > 0)) as answers,
    count(*) filter (where u.status in ('failed', 'interrupted')) as failures,
    sum(u.prompt_tokens) as prompt_tokens,
    sum(u.cached_tokens) as cached_tokens,
    sum(u.completion_tokens) as completion_tokens,
    sum(u.reasoning_tokens) as reasoning_tokens,
    count(*) filter (where u.is_estimated) as estimated_runs,
    sum(cast(u.milliseconds as bigint)) as milliseconds,
    sum(u.cost) as cost,
    cast(u.currency as text) as currency
from usage as u
group by u.day, u.user_id, u.model_tag, u.server, u.currency;

comment on view chat_report.usage is
'v1: What was used, by day, user, model and server; it outlives conversations. With a condition on day, or on day and '
'user_id, it costs the pages of those rows (idx_usage_day, idx_usage_user_day); without one, all rows are read.';
comment on column chat_report.usage.day is 'The day in UTC on which the runs ended.';
comment on column chat_report.usage.user_id is 'The user who asked; null: erased since.';
comment on column chat_report.usage.model is 'The model, by its tag in MODELS_FILE.';
comment on column chat_report.usage.server is 'The model server asked last; null: none, or its worker died.';
comment on column chat_report.usage.runs is 'Runs of the model, with titles and failures.';
comment on column chat_report.usage.answers is 'Answers: no titles, and none that failed without a word.';
comment on column chat_report.usage.failures is 'Runs that failed or were interrupted.';
comment on column chat_report.usage.prompt_tokens is 'Tokens that the model read, cached_tokens included.';
comment on column chat_report.usage.cached_tokens is 'Those that the model server had computed before.';
comment on column chat_report.usage.completion_tokens is 'Tokens that the model generated, thinking included.';
comment on column chat_report.usage.reasoning_tokens is 'Those that are thinking, where the model server says so.';
comment on column chat_report.usage.estimated_runs is 'Runs whose tokens the model server didn''t count.';
comment on column chat_report.usage.milliseconds is 'Milliseconds from the calls of the model server to the ends.';
comment on column chat_report.usage.cost is 'What they cost by the price at that time; null: there was none.';
comment on column chat_report.usage.currency is 'The currency of cost, by ISO 4217.';

create or replace view chat_report.budgets as
select
    b.id as budget_id,
    cast(b.scope as text) as scope,
    coalesce(b.user_id, nullif(s.user_id, '00000000-0000-0000-0000-000000000000')) as user_id,
    cast(b.model_tag as text) as model,
    cast(b.period as text) as period,
    cast(b.unit as text) as unit,
    cast(b.currency as text) as currency,
    b.amount,
    s.spent,
    greatest(b.amount - s.spent, 0) as amount_left
from budgets as b
left join spending as s
    on
        (b.scope <> 'everybody') = (s.user_id <> '00000000-0000-0000-0000-000000000000')
        and coalesce(b.user_id, s.user_id) = s.user_id
        and s.model_tag = coalesce(b.model_tag, '')
        and b.period = s.period
        and b.unit = s.unit
        and s.currency = coalesce(b.currency, '')
        and s.began = cast(date_trunc(s.period, now() at time zone 'utc') as date)
left join budgets as own
    on
        b.scope = 'each'
        and s.user_id = own.user_id
        and coalesce(b.model_tag, '') = coalesce(own.model_tag, '')
        and b.period = own.period
        and b.unit = own.unit
        and coalesce(b.currency, '') = coalesce(own.currency, '')
where own.id is null;

comment on view chat_report.budgets is
'v1: Each budget, and what is used of it in its current period; one for each user has a row for every user who used '
'some. Reads all of budgets and spending, which have a row for each user at most.';
comment on column chat_report.budgets.budget_id is 'The budget, as in budgets.id.';
comment on column chat_report.budgets.scope is 'Whose it is: everybody, each or user.';
comment on column chat_report.budgets.user_id is 'Whose use spent is; null: everybody''s, or nobody has used any.';
comment on column chat_report.budgets.model is 'The model; null: all models together.';
comment on column chat_report.budgets.period is 'A calendar day, week or month, in UTC.';
comment on column chat_report.budgets.unit is 'Of which unit: tokens, cost or answers.';
comment on column chat_report.budgets.currency is 'The currency of a cost, by ISO 4217.';
comment on column chat_report.budgets.amount is 'How much; null: this user has no limit.';
comment on column chat_report.budgets.spent is 'What was used in the period; null: nothing was summed up in it yet.';
comment on column chat_report.budgets.amount_left is 'What is left, but for what running answers may use.';

do $$
begin
    perform chat_grant_reader(reader) from chat_readers() as reader;
end
$$;
