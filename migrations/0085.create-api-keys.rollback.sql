-- Loses the API keys: programs that use them no longer sign in. Every conversation stays.
-- going back: loses the API keys, so that programs need new ones

set local lock_timeout = '5s';
set local statement_timeout = '1min';

delete from service_rights
where object = 'api_keys';

drop table if exists api_keys;
