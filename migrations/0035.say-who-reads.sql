-- Whether anybody still reads a running answer: a message that comes meanwhile may stop one that nobody reads. And the
-- rights to try an answer again whose attempt never reached the model, under the same key: its row begins anew.
-- depends: 0034.list-platform-users
-- locks: generations, access exclusive, a moment
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table generations
add column if not exists left_at timestamptz,
add column if not exists read_at timestamptz;

comment on column generations.left_at is
'When the last reader on its own worker left; null while there is one, and before the first one comes.';
comment on column generations.read_at is
'When another worker last had a reader of it; null where none has one. Kept up to date only while it runs.';

insert into service_rights (object, privilege, columns) values
(
    'generations',
    'update',
    '{id, position, message_id, status, worker_id, holder_id, options, stop_requested_at, finish_reason, error_code,
    token_count, inference_time_ms, last_seq, started_at, finished_at, usage, left_at, read_at}'
)
on conflict (object, privilege) do update set columns = excluded.columns;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
