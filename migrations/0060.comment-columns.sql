-- A comment for each column that had none, so that `chat-api sql describe` and \d+ leave nothing to guess.
-- depends: 0048.note-usage
-- locks: conversations, share update exclusive, a moment
-- locks: messages, share update exclusive, a moment
-- locks: workers, share update exclusive, a moment
-- locks: generations, share update exclusive, a moment
-- locks: service_rights, share update exclusive, a moment
-- locks: inactive_messages, share update exclusive, a moment
-- locks: queued_messages, share update exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

comment on column conversations.id is
'Made by chat_uuid7(), so in the order of time; in an adopted database, older ids may be random.';
comment on column conversations.created_at is
'When it was created.';
comment on column conversations.is_favorited is
'True if the user starred it.';

comment on column messages.id is
'Made by chat_uuid7(), so in the order of time; in an adopted database, older ids may be random.';
comment on column messages.conversation_id is
'The conversation that it belongs to, and with which it is deleted.';
comment on column messages.role is
'Who says it: user, assistant (the model), system, or tool (the result of a tool call).';
comment on column messages.created_at is
'When it was stored, for people to read. The order is that of position.';

comment on column workers.started_at is
'When the process stored its first row; the oldest of the living workers cleans up.';

comment on column generations.id is
'Made by chat_uuid7(): the id holds the time of the start, so the primary key finds the answers of a day.';
comment on column generations.conversation_id is
'The conversation that it belongs to, and with which it is deleted.';
comment on column generations.status is
'First running; then, finally, completed, stopped (by the user), failed or interrupted.';
comment on column generations.token_count is
'Tokens that the model generated; 0 while running.';
comment on column generations.started_at is
'When the question was stored, or the retry of a failed start; the model is called right after.';
comment on column generations.finished_at is
'When its end was stored; null while running.';

comment on column service_rights.privilege is
'What may be done with the object: select, insert, update, delete or execute.';

comment on column live_workers.id is
'As in workers.id.';
comment on column live_workers.started_at is
'As in workers.started_at.';
comment on column live_workers.lease_until is
'As in workers.lease_until; not over yet.';
comment on column live_workers.lease is
'As in workers.lease.';
comment on column live_workers.steady_since is
'As in workers.steady_since.';
comment on column live_workers.is_steady is
'True if it has renewed its lease for a whole lease without a gap. Only then are others taken for dead.';

comment on column queued_messages.id is
'Made by chat_uuid7(). The message keeps it when it is sent.';
comment on column queued_messages.conversation_id is
'The conversation in which it waits, and with which it is deleted.';
comment on column queued_messages.content is
'The text as sent.';
comment on column queued_messages.position is
'The order in which those of one conversation are sent; a message gets another one when it is sent.';
comment on column queued_messages.created_at is
'When it was put into the queue.';

-- The columns of inactive_messages mean what those of messages mean. The other table of a partitioning that isn't over
-- yet (deploy/postgresql/partition-messages) takes the name messages one day.
do $$
declare
    statement text;
begin
    for statement in
        select format(
            'comment on column %s.%I is %L', t.oid::regclass, a.attname, col_description(m.attrelid, m.attnum)
        )
        from pg_class as t
        inner join pg_attribute as a on t.oid = a.attrelid and a.attnum > 0 and not a.attisdropped
        inner join pg_attribute as m on m.attrelid = 'messages'::regclass and m.attname = a.attname
        where
            t.oid in (
                to_regclass('inactive_messages'),
                to_regclass('messages_partitioned'),
                to_regclass('messages_unpartitioned')
            )
            and col_description(t.oid, a.attnum) is null
            and col_description(m.attrelid, m.attnum) is not null
        order by t.oid, a.attnum
    loop
        execute statement;
    end loop;
end
$$;
