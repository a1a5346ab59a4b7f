-- The events of answers, kept for the replay window, so that any worker can serve any reader.
-- depends: 0010.create-generations
-- locks: nothing

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table if not exists journal (
    generation_id uuid not null,
    first_seq integer not null,
    next_seq integer not null,
    events json not null,
    constraint journal_pkey primary key (generation_id, next_seq),
    constraint ck_journal_seqs check (first_seq >= 0 and next_seq > first_seq)
);

comment on table journal is
'Slices of the generations'' events as their workers wrote them, a few a second. A slice may repeat events of the one '
'before it (after a write whose result was unknown): readers go by the numbers. Rows are deleted after the replay '
'window.';
comment on column journal.generation_id is
'No foreign key: it would cost a look-up for each row written. Ids are time-ordered, so the oldest rows come first.';
comment on column journal.first_seq is 'Number of the first event in the slice; 0 is a generation''s start event.';
comment on column journal.next_seq is 'Number after the last event in the slice.';
comment on column journal.events is
'The events'' data, in order, byte for byte (json keeps its text, jsonb wouldn''t). The last event, done, isn''t '
'written: generations holds everything in it.';
