-- One row per run of the model: its state machine, and what makes retries and multiple workers safe.
-- depends: 0009.create-workers
-- locks: conversations, share row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table if not exists generations (
    id uuid not null default chat_uuid7(),
    conversation_id uuid not null,
    kind varchar(10) not null,
    user_message_id uuid not null,
    message_id uuid,
    idempotency_key varchar(200),
    status varchar(12) not null default 'running',
    worker_id uuid,
    stop_requested_at timestamptz,
    finish_reason varchar(20),
    error_code varchar(50),
    token_count integer not null default 0,
    inference_time_ms integer not null default 0,
    last_seq integer not null default 0,
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    constraint generations_pkey primary key (id),
    constraint generations_conversation_id_fkey
    foreign key (conversation_id) references conversations (id) on delete cascade,
    constraint ck_generations_kind check (kind in ('send', 'regenerate')),
    constraint ck_generations_status check (status in ('running', 'completed', 'stopped', 'failed', 'interrupted')),
    constraint ck_generations_finish_reason
    check (finish_reason in ('stop', 'length', 'stopped', 'interrupted', 'error')),
    constraint ck_generations_finished check ((status = 'running') = (finished_at is null)),
    constraint ck_generations_worker check (status <> 'running' or worker_id is not null)
);

-- Under concurrency this index decides which run may start, not a read before the write.
create unique index if not exists uq_generations_running
on generations (conversation_id) where status = 'running';

create unique index if not exists uq_generations_idempotency_key
on generations (conversation_id, idempotency_key) where idempotency_key is not null;

-- A conversation's newest generation; deleting a conversation finds its generations through this index too.
create index if not exists idx_generations_conversation
on generations (conversation_id, started_at desc);

-- A worker's running generations: a few rows, however long the history is.
create index if not exists idx_generations_worker
on generations (worker_id) where status = 'running';

comment on table generations is
'One run of the model for one answer: first running, then finally completed, stopped, failed or interrupted.';
comment on column generations.kind is 'send: answers a new message. regenerate: replaces the last answer.';
comment on column generations.user_message_id is
'The question. No foreign key: a question is deleted only with its conversation, as this row is, and a foreign key '
'would cost a look-up here for each deleted message.';
comment on column generations.message_id is
'The stored answer; null while running, and when no text was kept. No foreign key: a later regeneration deletes it.';
comment on column generations.idempotency_key is
'The Idempotency-Key of the request: a retry in the same conversation finds this row instead of starting again.';
comment on column generations.worker_id is
'The worker that holds the model''s stream. No foreign key: a dead worker''s row is deleted, and this history stays.';
comment on column generations.stop_requested_at is
'Set by any worker; the owner sees it at its next tick and closes the stream.';
comment on column generations.finish_reason is 'As in messages.finish_reason; null while running.';
comment on column generations.error_code is 'The stable code that readers received when it failed.';
comment on column generations.inference_time_ms is 'Milliseconds from the call to the inference service to the end.';
comment on column generations.last_seq is 'Number of the last event that readers received; 0 before the first.';
