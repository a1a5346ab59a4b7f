-- name: renew_lease(worker_id, seconds)!
-- A worker says that it lives and will say so again within so many seconds; every few seconds a worker. Primary key.
insert into workers (id, lease_until) -- maintenance.renew_lease
values (:worker_id, now() + make_interval(secs => :seconds))
on conflict (id) do update set lease_until = excluded.lease_until;

-- name: release_lease(worker_id)!
-- A worker that ends in order takes itself off the list; those that died an hour ago go with it.
delete from workers -- maintenance.release_lease
where id = :worker_id or lease_until < now() - interval '1 hour';

-- name: interrupt_orphans()
-- Ends the generations whose worker is dead (it let its lease run out, or has none), so that their conversations take
-- new messages; at a worker's start and every few seconds; idx_generations_worker. Exactly once, whoever asks.
update generations as g -- maintenance.interrupt_orphans
set
    status = 'interrupted',
    finish_reason = 'interrupted',
    error_code = 'worker_lost',
    finished_at = now()
where
    g.status = 'running'
    and not exists (
        select from workers as w
        where w.id = g.worker_id and w.lease_until > now()
    )
returning g.id;

-- name: interrupt_unseen(worker_id, running, seconds)
-- Ends the generations that a living worker was never told of: the connection broke between their commit and the word
-- of it. Such are not among the worker's `running` ones, though begun longer ago than any statement may take; every few
-- seconds a worker; idx_generations_worker.
update generations -- maintenance.interrupt_unseen
set
    status = 'interrupted',
    finish_reason = 'interrupted',
    error_code = 'worker_lost',
    finished_at = now()
where
    worker_id = :worker_id
    and status = 'running'
    and id <> all(cast(:running as uuid[]))
    and started_at < now() - make_interval(secs => :seconds)
returning id;

-- name: applied_migrations()
-- The migrations that this database has seen, for the readiness check; every few seconds a load balancer.
select migration_id -- maintenance.applied_migrations
from _yoyo_migration;
