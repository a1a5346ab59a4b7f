-- Loses nothing: usage and budgets are no longer among the reports.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop view if exists chat_report.usage;
drop view if exists chat_report.budgets;
