-- Notes what a run of a model used in the very statement that ends it, whichever that is: the end of an answer, the sweep of
-- a dead worker, a deletion, or a DBA's own.
-- depends: 0047.create-usage
-- locks: generations, share row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- As in 0047.
do $$
begin
    perform set_config(
        'search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), 'pg_temp'), true
    );
end
$$;

-- A worker of an older release stores neither the user nor the model.
create or replace function chat_note_usage() returns trigger
language plpgsql
security definer
set search_path from current
as $$
declare
    run generations := case when tg_op = 'DELETE' then old else new end;
    whose uuid := run.holder_id;
    model varchar := run.model_tag;
begin
    if whose is null or model is null then
        select coalesce(whose, c.user_id), coalesce(model, nullif(c.model_tag, '')) into whose, model
        from conversations as c
        where c.id = run.conversation_id;
    end if;
    perform chat_use(
        run.id, whose, run.conversation_id, run.kind, coalesce(model, run.model_tag, 'default'),
        run.tries -> -1 ->> 'server', case when tg_op = 'DELETE' then 'stopped' else run.status end, run.error_code,
        run.started_at, run.inference_time_ms, run.price, run.usage, run.token_count, run.prompt_estimate
    );
    return null;
end
$$;

comment on function chat_note_usage() is
'Notes in usage what an answer used, when it ends.';

-- Also when what a sweep has ended gets another end: see generations.bring_in.
drop trigger if exists note_usage on generations;
create trigger note_usage
after update of status, finished_at on generations
for each row
when (new.status <> 'running')
execute function chat_note_usage();

comment on trigger note_usage on generations is
'An answer has ended.';

drop trigger if exists note_usage_of_deleted on generations;
create trigger note_usage_of_deleted
after delete on generations
for each row
when (old.status = 'running')
execute function chat_note_usage();

comment on trigger note_usage_of_deleted on generations is
'An answer was deleted with its conversation while it was being written. What its worker knows of it comes later, by '
'usage.correct.';
