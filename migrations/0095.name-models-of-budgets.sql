-- A budget's model has a name, or the budget is for all models: an empty name looked like the one and counted as neither.
-- depends: 0090.add-conversation-metadata
-- locks: budgets, access exclusive, reads every row

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Few rows, so that they may be read under the lock.
update budgets set model_tag = null
where model_tag = '';

alter table budgets
drop constraint if exists ck_budgets_model,
add constraint ck_budgets_model check (model_tag <> ''); -- squawk-ignore constraint-missing-not-valid
