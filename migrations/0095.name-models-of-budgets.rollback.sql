-- Loses nothing.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table budgets drop constraint if exists ck_budgets_model;
