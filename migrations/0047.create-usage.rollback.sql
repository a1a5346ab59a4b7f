-- Loses what was used, and the budgets; every conversation and every message stays.
-- going back: loses what each answer used and cost, and the budgets

set local lock_timeout = '5s';
set local statement_timeout = '1min';

delete from service_rights
where
    object in (
        'usage',
        'budgets',
        'spending',
        'chat_afford(uuid, uuid, varchar, varchar)',
        'chat_budget_states(uuid)',
        'chat_use(uuid,uuid,uuid,varchar,varchar,varchar,varchar,varchar,timestamptz,integer,json,json,integer,integer)'
    );

update service_rights
set
    columns = array_remove(
        array_remove(array_remove(array_remove(columns, 'model_tag'), 'price'), 'prompt_estimate'), 'max_tokens'
    )
where object = 'generations' and privilege in ('insert', 'update');

do $$
begin
    if to_regtype('chat_budget') is not null then
        if to_regtype('usage') is not null then
            drop function if exists chat_amount(usage, chat_budget);
        end if;
        drop function if exists chat_used(chat_budget);
        drop function if exists chat_spent(chat_budget);
        drop function if exists chat_spend(chat_budget, numeric);
        if to_regtype('generations') is not null then
            drop function if exists chat_may_use(generations, chat_budget);
        end if;
        drop function if exists chat_reserved(chat_budget);
        drop function if exists chat_budget_state(chat_budget, numeric);
    end if;
end
$$;

drop function if exists chat_afford(uuid, uuid, varchar, varchar);
drop function if exists chat_budget_states(uuid);
drop function if exists chat_budgets(uuid, varchar);
drop function if exists chat_use(
    uuid, uuid, uuid, varchar, varchar, varchar, varchar, varchar, timestamptz, integer, json, json, integer, integer
);
drop function if exists chat_tokens(json, text);
drop function if exists chat_cost(json, bigint, bigint, bigint);
drop function if exists chat_period(varchar);

drop table if exists spending;
drop table if exists budgets;
drop table if exists usage;
drop type if exists chat_budget;

alter table if exists generations
drop column if exists model_tag,
drop column if exists price,
drop column if exists prompt_estimate,
drop column if exists max_tokens;
