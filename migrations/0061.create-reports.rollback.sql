-- Loses no row. Views that a DBA added to the schema stay, and the schema with them; those that read ours prevent it.
-- going back: loses the reports, and who may read them (chat_grant_reader)

set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop function if exists chat_revoke_reader(name);
drop function if exists chat_grant_reader(name);
drop function if exists chat_readers();
drop view if exists chat_report.limits;
drop view if exists chat_report.conversation_sizes;
drop view if exists chat_report.table_health;
drop view if exists chat_report.failures;
drop view if exists chat_report.running_answers;

do $$
begin
    if to_regnamespace('chat_report') is not null and not exists (
        select from pg_class where relnamespace = to_regnamespace('chat_report')
    ) then
        drop schema chat_report;
    end if;
end
$$;
