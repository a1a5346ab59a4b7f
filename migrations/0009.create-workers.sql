-- Who is alive, among the server processes that share this database.
-- depends: 0008.index-messages
-- locks: nothing

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table if not exists workers (
    id uuid not null,
    started_at timestamptz not null default now(),
    lease_until timestamptz not null,
    constraint workers_pkey primary key (id)
);

comment on table workers is
'A worker process says here that it lives. Who lets its lease run out is dead to the others: they end its generations '
'as interrupted and delete its row.';
comment on column workers.id is 'Made by the worker when it starts; a restarted process is a new worker.';
comment on column workers.lease_until is
'Renewed with each journal tick, by the clock of the database, so that the clocks of the machines don''t matter.';
