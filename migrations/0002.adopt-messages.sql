-- The table messages: created in a fresh database, adopted with every row where samosaChaat created it earlier. The new
-- column finish_reason says why an answer ended.
-- depends: 0001.adopt-conversations
-- locks: messages, access exclusive, a moment
-- locks: conversations, share row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table if not exists messages (
    id uuid not null default chat_uuid7(),
    conversation_id uuid not null,
    role varchar(20) not null,
    content text not null,
    token_count integer,
    model_tag varchar(100),
    inference_time_ms integer,
    created_at timestamptz not null default now(),
    finish_reason varchar(20),
    constraint messages_pkey primary key (id),
    constraint messages_conversation_id_fkey
    foreign key (conversation_id) references conversations (id) on delete cascade,
    constraint ck_messages_role check (role in ('user', 'assistant', 'system'))
);

-- The checks apply to new rows from here on; 0003 repairs old rows, and 0004 validates them.
alter table messages
add column if not exists finish_reason varchar(20),
alter column id set default chat_uuid7(),
alter column created_at set default now(),
drop constraint if exists ck_messages_created_at,
add constraint ck_messages_created_at check (created_at is not null) not valid,
drop constraint if exists ck_messages_finish_reason,
add constraint ck_messages_finish_reason
check (finish_reason in ('stop', 'length', 'stopped', 'interrupted', 'error')) not valid;

comment on table messages is
'What was said. Read oldest first by (created_at, id). Messages are added and deleted; their text never changes.';
comment on column messages.content is 'The text as sent, or as far as it was generated when the generation ended.';
comment on column messages.token_count is
'Tokens that the model generated for this answer. Null for a user''s message, and reads as 0: an earlier service '
'wrote nulls.';
comment on column messages.model_tag is 'The model that answered. Null reads as the empty string.';
comment on column messages.inference_time_ms is
'Milliseconds from the call to the inference service to its last token. Null reads as 0.';
comment on column messages.finish_reason is
'Null for a user''s message and for answers older than this column. Otherwise: stop (the model ended), length (its '
'limit was reached), stopped (the user stopped it), interrupted (the worker or the stream broke off), error.';
