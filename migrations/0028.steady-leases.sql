-- A lease that neither a hang nor a clock can end for a worker that lives. An expired lease alone no longer says that
-- its worker is dead: the database must also have served another worker, without a gap, for as long as a lease. In that
-- time, every living worker has renewed.
-- depends: 0027.index-generation-positions
-- locks: workers, access exclusive, a moment
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- A worker of the previous release writes neither. With this default, its lease counts as long as lease_until says, and
-- it is never steady.
alter table workers
add column if not exists lease interval not null default '1 day',
add column if not exists steady_since timestamptz not null default now();

comment on column workers.lease is
'How long a lease is (WORKER_LEASE). lease_until minus this is when it was renewed last.';
comment on column workers.steady_since is
'Since when this worker''s renewals have come without a gap of half a lease, by a clock that didn''t jump meanwhile.';

-- A lease that lasts longer than a lease can was renewed before the clock was set back: it doesn't count either.
-- clock_timestamp(), not now(): a statement that waited for a lock sees renewals that are later than its own now().
create or replace view live_workers as
with t as (select clock_timestamp() as now)

select
    w.id,
    w.started_at,
    w.lease_until,
    w.lease,
    w.steady_since,
    w.lease_until > t.now + w.lease / 2 and w.steady_since <= t.now - w.lease as is_steady
from workers as w
cross join t
where w.lease_until between t.now and t.now + w.lease;

comment on view live_workers is
'The workers whose lease holds. is_steady: the database has served this one for a whole lease without a gap, so that a '
'worker that isn''t here is dead.';

insert into service_rights (object, privilege, columns) values
('live_workers', 'select', '{}'),
('workers', 'insert', '{id, lease_until, lease, steady_since}'),
('workers', 'update', '{lease_until, lease, steady_since}'),
-- What generations.bring_in writes: an answer, in its place, that was interrupted or lost in its worker's absence.
(
    'messages',
    'insert',
    '{id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason,
    position}'
),
(
    'generations',
    'insert',
    '{id, conversation_id, kind, user_message_id, idempotency_key, worker_id, holder_id, message_id, status,
    finish_reason, error_code, token_count, inference_time_ms, last_seq, finished_at, position}'
)
on conflict (object, privilege) do update set columns = excluded.columns;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
