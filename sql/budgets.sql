-- name: put(scope, user_id, model_tag, period, unit, currency, amount)^
-- Makes a budget, or changes the amount of the one for the same subject, model, period, unit and currency. Runs by hand
-- (`chat-api budget set`). uq_budgets_subject. A null `amount`: the user has no limit, in place of a budget for each.
insert into budgets (scope, user_id, model_tag, period, unit, currency, amount) -- budgets.put
values (:scope, :user_id, :model_tag, :period, :unit, :currency, :amount)
on conflict (
    coalesce(user_id, '00000000-0000-0000-0000-000000000000'),
    scope,
    coalesce(model_tag, ''),
    period,
    unit,
    coalesce(currency, '')
) do update
    set amount = excluded.amount
returning id, xmax = 0 as is_new;

-- name: list()
-- All budgets, and what was used of each in the current period; of those for each user, that is null. Runs by hand
-- (`chat-api budget list`). `budgets` is small; spending_pkey.
select -- budgets.list
    id,
    scope,
    user_id,
    model_tag,
    period,
    unit,
    currency,
    amount,
    case
        when scope <> 'each'
            then chat_spent(cast(row(scope, user_id, model_tag, period, unit, currency, amount) as chat_budget))
    end as spent
from budgets
where (select chat_for_everyone())
order by scope = 'user', scope = 'each', user_id, model_tag, period, unit, currency;

-- name: remove(id)^
-- Removes a budget. Runs by hand (`chat-api budget remove`). Primary key. No row: there is none.
delete from budgets -- budgets.remove
where id = :id
returning id;
