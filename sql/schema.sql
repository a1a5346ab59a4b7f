-- The schema that the migrations make, to be read. Nothing runs this file: migrations make databases.
-- `make schema` writes it with pg_dump from a freshly migrated database, and a test compares it with one.
--
-- First come the functions that tables use, then the tables in the order in which the migrations create them,
-- then the other functions, the views and the triggers. Left out are owners, and the tables in which yoyo
-- records what was applied. Where the auth service's table users is in the same database, conversations
-- has the foreign key conversations_user_id_fkey. The rows of service_rights are what chat_grant grants.

create function chat_uuid7() returns uuid
    language sql parallel safe
    as $$
    select (
        lpad(to_hex(floor(extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0')
        || '-7' || substr(gen_random_uuid()::text, 16)
    )::uuid
$$;

comment on function chat_uuid7() is
'A new time-ordered id (UUID version 7, RFC 9562): 48 bits of Unix milliseconds, then random bits. Primary keys append '
'instead of scattering. Within one millisecond the order is random.';

create sequence chat_position
    start with 1
    increment by 2
    no minvalue
    no maxvalue
    cache 1;

comment on sequence chat_position is
'Numbers messages and generations in the order in which they are stored. Logical replication doesn''t copy its state: '
'after a switch-over by it, set it to a value above max(position) of both tables.';

select pg_catalog.setval('public.chat_position', 1, false);

create table conversations (
    id uuid default chat_uuid7() not null,
    user_id uuid,
    title varchar(500) default 'New conversation'::varchar,
    model_tag varchar(100) default 'default'::varchar,
    created_at timestamptz default now() not null,
    updated_at timestamptz default now() not null,
    is_favorited boolean default false not null,
    instructions varchar(8000),
    options json,
    version integer default 0 not null,
    metadata json,
    constraint ck_conversations_version check (version >= 0),
    constraint conversations_pkey primary key (id)
)
with (autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_threshold='1000');

comment on table conversations is
'One chat of one user. Its messages and generations go with it.';
comment on column conversations.id is
'Made by chat_uuid7(), so in the order of time; in an adopted database, older ids may be random.';
comment on column conversations.user_id is
'The owner''s id in the auth service. A foreign key only where that service keeps users in this database. Null: it was '
'deleted, and its rows are removed in pieces (retention.clear).';
comment on column conversations.title is
'Null reads as the default: an earlier service may write nulls. The first message replaces a placeholder title.';
comment on column conversations.model_tag is
'The model that the user asked for, by its name in the inference service. Null reads as the default.';
comment on column conversations.created_at is
'When it was created.';
comment on column conversations.updated_at is
'When the last message was stored or the title changed: the order of the lists.';
comment on column conversations.is_favorited is
'True if the user starred it.';
comment on column conversations.instructions is
'What the model is told before the conversation, in place of SYSTEM_PROMPT. Null: that one.';
comment on column conversations.options is
'What its answers are asked with where a request says nothing: '
'{"temperature","max_tokens","top_k","thinking_mode","force_web_search"}, each of them optional. Null: the service''s '
'settings.';
comment on column conversations.version is
'Counts the changes that are no new answer: of its settings, its title, its active path and what waits for its turn. '
'Whoever watches the conversation is told of each. A statement that read another path than the one it would write to '
'sets -1, which ck_conversations_version refuses; it is then repeated.';
comment on column conversations.metadata is
'What a program noted on it: {"key": "value", …}, at most 16 pairs. The service doesn''t read it. Null: nothing.';

create index idx_conversations_user_updated on conversations using btree (user_id, updated_at desc, id desc);

create table messages (
    id uuid default chat_uuid7() not null,
    conversation_id uuid not null,
    role varchar(20) not null,
    content text not null,
    token_count integer,
    model_tag varchar(100),
    inference_time_ms integer,
    created_at timestamptz default now() not null,
    finish_reason varchar(20),
    "position" bigint default nextval('public.chat_position'::regclass) not null,
    reasoning text,
    tool_calls json,
    tool_call_id text,
    usage json,
    is_refused boolean,
    parent_position bigint,
    constraint ck_messages_finish_reason
        check (finish_reason::text = any (array['stop'::varchar, 'length'::varchar, 'tool_calls'::varchar,
            'content_filter'::varchar, 'stopped'::varchar, 'interrupted'::varchar, 'error'::varchar]::text[])),
    constraint ck_messages_role
        check (role::text = any (array['user'::varchar, 'assistant'::varchar, 'system'::varchar,
            'tool'::varchar]::text[])),
    constraint messages_pkey primary key (id),
    constraint messages_conversation_id_fkey
        foreign key (conversation_id) references conversations(id) on delete cascade
)
with (autovacuum_vacuum_insert_scale_factor='0.02', autovacuum_vacuum_insert_threshold='10000',
    autovacuum_freeze_min_age='0', autovacuum_vacuum_scale_factor='0.05', autovacuum_analyze_scale_factor='0.02');

comment on table messages is
'What was said. Read oldest first by position. Messages are added and deleted; their text never changes.';
comment on column messages.id is
'Made by chat_uuid7(), so in the order of time; in an adopted database, older ids may be random.';
comment on column messages.conversation_id is
'The conversation that it belongs to, and with which it is deleted.';
comment on column messages.role is
'Who says it: user, assistant (the model), system, or tool (the result of a tool call).';
comment on column messages.content is
'The text as sent, or as far as it was generated when the generation ended.';
comment on column messages.token_count is
'Tokens that the model generated for this answer. Null for a user''s message, and reads as 0: an earlier service wrote '
'nulls.';
comment on column messages.model_tag is
'The model that answered. Null reads as the empty string.';
comment on column messages.inference_time_ms is
'Milliseconds from the call to the inference service to its last token. Null reads as 0.';
comment on column messages.created_at is
'When it was stored, for people to read. The order is that of position.';
comment on column messages.finish_reason is
'Null for a user''s message and for answers older than this column. Otherwise: stop (the model ended), length (its '
'limit was reached), tool_calls (it waits for the results of its calls), content_filter (the model server withheld the '
'rest), stopped (the user stopped it), interrupted (the worker or the stream broke off), error.';
comment on column messages."position" is
'Place in the conversation: read oldest first by it. Rows from before this column have negative numbers.';
comment on column messages.reasoning is
'What the model thought before and while it answered; null if it didn''t say. Never sent to a model again.';
comment on column messages.tool_calls is
'The calls of the caller''s tools that the model asked for: [{"id","name","arguments"}], arguments being JSON text, '
'perhaps cut off. Null if there are none.';
comment on column messages.tool_call_id is
'For a message of the role tool: the id of the call that it answers.';
comment on column messages.usage is
'What the model server counted, in tokens: {"prompt_tokens","completion_tokens","reasoning_tokens","cached_tokens"}, '
'each null where it doesn''t say. Null for a question, and where it says nothing.';
comment on column messages.is_refused is
'True for a question, or a tool''s result, that the model server refused: no later question takes it along. Null for '
'all others.';
comment on column messages.parent_position is
'Null: it comes after the message before it, as nothing else does. Otherwise it has other versions in '
'inactive_messages, and this is the position of the message that all of them come after; 0: they begin the '
'conversation.';

create index idx_messages_conversation_position on messages using btree (conversation_id, "position");

create table workers (
    id uuid not null,
    started_at timestamptz default now() not null,
    lease_until timestamptz not null,
    lease interval default '1 day'::interval not null,
    steady_since timestamptz default now() not null,
    constraint workers_pkey primary key (id)
)
with (fillfactor='50', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000',
    autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='10000');

comment on table workers is
'The worker processes that are alive. A worker whose lease runs out is dead to the others: they end its generations as '
'interrupted, and delete its row later.';
comment on column workers.id is
'Generated by the worker when it starts; a restarted process is a new worker.';
comment on column workers.started_at is
'When the process stored its first row; the oldest of the living workers cleans up.';
comment on column workers.lease_until is
'Renewed by journal ticks, by the clock of the database, so that the clocks of the machines don''t matter.';
comment on column workers.lease is
'How long a lease is (WORKER_LEASE). lease_until minus this is when it was renewed last.';
comment on column workers.steady_since is
'Since when this worker''s renewals have come without a gap of half a lease, by a clock that didn''t jump meanwhile.';

create table generations (
    id uuid default chat_uuid7() not null,
    conversation_id uuid not null,
    kind varchar(10) not null,
    user_message_id uuid not null,
    message_id uuid,
    idempotency_key varchar(200),
    status varchar(12) default 'running'::varchar not null,
    worker_id uuid,
    stop_requested_at timestamptz,
    finish_reason varchar(20),
    error_code varchar(50),
    token_count integer default 0 not null,
    inference_time_ms integer default 0 not null,
    last_seq integer default 0 not null,
    started_at timestamptz default now() not null,
    finished_at timestamptz,
    holder_id uuid,
    "position" bigint default nextval('public.chat_position'::regclass) not null,
    usage json,
    options json,
    left_at timestamptz,
    read_at timestamptz,
    call_message_id uuid,
    parent_position bigint,
    own_message_id uuid,
    tries json,
    model_tag varchar(100),
    price json,
    prompt_estimate integer,
    max_tokens integer,
    constraint ck_generations_finish_reason
        check (finish_reason::text = any (array['stop'::varchar, 'length'::varchar, 'tool_calls'::varchar,
            'content_filter'::varchar, 'stopped'::varchar, 'interrupted'::varchar, 'error'::varchar]::text[])),
    constraint ck_generations_finished check ((status::text = 'running'::text) = (finished_at is null)),
    constraint ck_generations_kind
        check (kind::text = any (array['send'::varchar, 'regenerate'::varchar, 'results'::varchar,
            'continue'::varchar]::text[])),
    constraint ck_generations_status
        check (status::text = any (array['running'::varchar, 'completed'::varchar, 'stopped'::varchar,
            'failed'::varchar, 'interrupted'::varchar]::text[])),
    constraint ck_generations_worker check (status::text <> 'running'::text or worker_id is not null),
    constraint generations_pkey primary key (id),
    constraint generations_conversation_id_fkey
        foreign key (conversation_id) references conversations(id) on delete cascade
)
with (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='10000', autovacuum_analyze_scale_factor='0',
    autovacuum_analyze_threshold='100000');

comment on table generations is
'One run of the model for one answer: first running, then finally completed, stopped, failed or interrupted.';
comment on column generations.id is
'Made by chat_uuid7(): the id holds the time of the start, so the primary key finds the answers of a day.';
comment on column generations.conversation_id is
'The conversation that it belongs to, and with which it is deleted.';
comment on column generations.kind is
'send: answers a new message. regenerate: does an answer again. results: goes on from the results of tool calls. '
'continue: goes on with an answer that was cut.';
comment on column generations.user_message_id is
'The question. No foreign key: a question is deleted only with its conversation, as this row is, and a foreign key '
'would cost a look-up here for each deleted message.';
comment on column generations.message_id is
'The stored answer; null while running, and when no text was kept. Where a regeneration took the answer''s place, this '
'is the regeneration''s answer, for retries. No foreign key: messages can be deleted.';
comment on column generations.idempotency_key is
'The Idempotency-Key of the request: a retry in the same conversation finds this row instead of starting again. It '
'leaves a day after the start, and a retry is a new message then.';
comment on column generations.status is
'First running; then, finally, completed, stopped (by the user), failed or interrupted.';
comment on column generations.worker_id is
'The worker that holds the model''s stream. No foreign key: a dead worker''s row is deleted, and this history stays.';
comment on column generations.stop_requested_at is
'Set by any worker; the owner sees it at its next tick and closes the stream.';
comment on column generations.finish_reason is
'As in messages.finish_reason; null while running.';
comment on column generations.error_code is
'The stable code that readers received when it failed.';
comment on column generations.token_count is
'Tokens that the model generated; 0 while running.';
comment on column generations.inference_time_ms is
'Milliseconds from the call to the inference service to the end.';
comment on column generations.last_seq is
'Number of the last event that readers received; 0 before the first.';
comment on column generations.started_at is
'When the question was stored, or the retry of a failed start; the model is called right after.';
comment on column generations.finished_at is
'When its end was stored; null while running.';
comment on column generations.holder_id is
'The user who asked. Null for answers of older releases.';
comment on column generations."position" is
'Order of start within the conversation. Rows from before this column have negative numbers.';
comment on column generations.usage is
'As in messages.usage; also where no message was stored.';
comment on column generations.options is
'What the question was asked with, for a regeneration to repeat, and what was set for the conversation at that time '
'("conversation"); null: nothing but the service''s settings. Asked through OpenAI''s API, it also has "response": '
'{"model","metadata","previous_response_id","background","began_conversation"}.';
comment on column generations.left_at is
'When the last reader on its own worker left; null while there is one, and before the first one comes.';
comment on column generations.read_at is
'When another worker last had a reader of it; null where none has one. Kept up to date only while it runs.';
comment on column generations.call_message_id is
'For results: the message whose calls they are of. No foreign key, as for message_id.';
comment on column generations.parent_position is
'Where a certain answer is done again or goes on: the position of the message that this one comes after.';
comment on column generations.own_message_id is
'The answer that this run stored, where message_id is another one. Join coalesce(own_message_id, message_id).';
comment on column generations.tries is
'The model servers that were asked, in order, as JSON: [{"server","outcome","milliseconds"}]. outcome: answered, busy '
'(all of its slots were taken), stopped (by the caller or the service) or an error code. Null: none was asked, or the '
'worker died before it stored them.';
comment on column generations.model_tag is
'The model that was asked, as usage.model_tag. Null for answers of older releases.';
comment on column generations.price is
'The model''s price when it was asked, as usage.price; null: it had none.';
comment on column generations.prompt_estimate is
'About how many tokens the model had to read: a quarter of the bytes of the messages, instructions and tools that it '
'was sent.';
comment on column generations.max_tokens is
'The most tokens that the model was asked for. Budgets reserve this and prompt_estimate while it runs.';

create index idx_generations_conversation_position on generations using btree (conversation_id, "position" desc);

create index idx_generations_unfinished_holder on generations using btree (holder_id)
    where finished_at is null and holder_id is not null;

create index idx_generations_unfinished_worker on generations using btree (worker_id)
    where finished_at is null and worker_id is not null;

create unique index uq_generations_call_message on generations using btree (conversation_id, call_message_id)
    where call_message_id is not null;

create unique index uq_generations_idempotency_key on generations using btree (conversation_id, idempotency_key)
    where idempotency_key is not null;

create unique index uq_generations_running on generations using btree (conversation_id)
    where status::text = 'running'::text;

create table journal (
    generation_id uuid not null,
    first_seq integer not null,
    next_seq integer not null,
    events json not null,
    constraint ck_journal_seqs check (first_seq >= 0 and next_seq > first_seq),
    constraint journal_pkey primary key (generation_id, next_seq)
)
with (autovacuum_vacuum_cost_delay='0', autovacuum_vacuum_insert_threshold='-1', autovacuum_vacuum_scale_factor='0',
    autovacuum_vacuum_threshold='20000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='200000');

comment on table journal is
'Slices of the generations'' events as their workers wrote them, a few a second. A slice may repeat events of the one '
'before it (after a write whose result was unknown): readers go by the numbers. Rows are deleted after the replay '
'window.';
comment on column journal.generation_id is
'No foreign key: it would cost a look-up for each row written. Ids are time-ordered, so the oldest rows come first.';
comment on column journal.first_seq is
'Number of the first event in the slice; 0 is a generation''s start event.';
comment on column journal.next_seq is
'Number after the last event in the slice.';
comment on column journal.events is
'The events'' data, in order, byte for byte (json keeps its text, jsonb wouldn''t). The last event, done, isn''t '
'written: generations holds everything in it.';

create table service_rights (
    object text not null,
    privilege text not null,
    columns text[] default '{}'::text[] not null,
    constraint ck_service_rights_privilege
        check (privilege = any (array['select'::text, 'insert'::text, 'update'::text, 'delete'::text,
            'execute'::text])),
    constraint service_rights_pkey primary key (object, privilege)
);

comment on table service_rights is
'The rights that the statements of sql/ need; chat_grant(role) grants them. A migration that needs more adds rows.';
comment on column service_rights.object is
'A table, or a function with the types of its parameters.';
comment on column service_rights.privilege is
'What may be done with the object: select, insert, update, delete or execute.';
comment on column service_rights.columns is
'The columns that the right covers; empty: all columns, later ones too.';

insert into service_rights (object, privilege, columns) values
('_yoyo_migration', 'select', '{}'),
('allowances', 'delete', '{}'),
('allowances', 'select', '{}'),
('allowances', 'update', '{full_at}'),
('api_keys', 'delete', '{}'),
('api_keys', 'select', '{}'),
('api_keys', 'update', '{last_used_at}'),
('budgets', 'delete', '{}'),
('budgets', 'insert', '{}'),
('budgets', 'select', '{}'),
('budgets', 'update', '{amount}'),
('chat_activate(uuid, uuid)', 'execute', '{}'),
('chat_admit(uuid,uuid,varchar,integer,json)', 'execute', '{}'),
('chat_afford(uuid, uuid, varchar, varchar)', 'execute', '{}'),
('chat_budget_states(uuid)', 'execute', '{}'),
('chat_copy(uuid, uuid, uuid, uuid[])', 'execute', '{}'),
('chat_delete(uuid)', 'execute', '{}'),
('chat_for_everyone()', 'execute', '{}'),
('chat_for_user(uuid, uuid)', 'execute', '{}'),
('chat_is_held(uuid)', 'execute', '{}'),
('chat_platform_users(integer, timestamptz, uuid)', 'execute', '{}'),
('chat_position', 'update', '{}'),
('chat_sees_platform_users()', 'execute', '{}'),
('chat_set_aside(uuid)', 'execute', '{}'),
('chat_take_back(uuid, uuid)', 'execute', '{}'),
('chat_use(uuid,uuid,uuid,varchar,varchar,varchar,varchar,varchar,timestamptz,integer,json,json,integer,integer)',
    'execute', '{}'),
('chat_use_again(uuid, json)', 'execute', '{}'),
('chat_uuid7()', 'execute', '{}'),
('chat_uuid7_at(timestamptz)', 'execute', '{}'),
('conversations', 'delete', '{}'),
('conversations', 'insert',
    '{user_id,title,model_tag,instructions,options,id,is_favorited,created_at,updated_at,version,metadata}'),
('conversations', 'select', '{}'),
('conversations', 'update', '{title,is_favorited,updated_at,model_tag,instructions,options,version,metadata}'),
('generations', 'delete', '{}'),
('generations', 'insert',
    '{id,conversation_id,kind,user_message_id,idempotency_key,worker_id,holder_id,message_id,status,finish_reason,error_code,token_count,inference_time_ms,last_seq,finished_at,position,usage,options,call_message_id,parent_position,tries,model_tag,price,prompt_estimate,max_tokens,own_message_id,started_at}'),
('generations', 'select', '{}'),
('generations', 'update',
    '{id,position,message_id,status,worker_id,holder_id,options,stop_requested_at,finish_reason,error_code,token_count,inference_time_ms,last_seq,started_at,finished_at,usage,left_at,read_at,own_message_id,tries,model_tag,price,prompt_estimate,max_tokens,idempotency_key}'),
('inactive_messages', 'delete', '{}'),
('inactive_messages', 'insert', '{}'),
('inactive_messages', 'select', '{}'),
('journal', 'delete', '{}'),
('journal', 'insert', '{}'),
('journal', 'select', '{}'),
('journal', 'update', '{first_seq}'),
('legal_hold', 'select', '{}'),
('live_workers', 'select', '{}'),
('messages', 'delete', '{}'),
('messages', 'insert',
    '{id,conversation_id,role,content,token_count,model_tag,inference_time_ms,created_at,finish_reason,position,reasoning,tool_calls,usage,is_refused,tool_call_id,parent_position}'),
('messages', 'select', '{}'),
('messages', 'update', '{is_refused,parent_position}'),
('queued_messages', 'delete', '{}'),
('queued_messages', 'insert', '{conversation_id,content,request,idempotency_key,id,created_at}'),
('queued_messages', 'select', '{}'),
('queued_messages', 'update', '{position}'),
('spending', 'delete', '{}'),
('spending', 'select', '{}'),
('tickets', 'delete', '{}'),
('tickets', 'insert', '{digest,user_id,expires_at,token_expires_at}'),
('tickets', 'select', '{}'),
('tickets', 'update', '{expires_at}'),
('usage', 'select', '{}'),
('usage', 'update', '{user_id,conversation_id}'),
('workers', 'delete', '{}'),
('workers', 'insert', '{id,lease_until,lease,steady_since}'),
('workers', 'select', '{}'),
('workers', 'update', '{lease_until,lease,steady_since}');

create unlogged table allowances (
    name varchar(40) not null,
    subject varchar(64) not null,
    every interval not null,
    period interval not null,
    full_at timestamptz not null,
    constraint ck_allowances_every check (every > '00:00:00'::interval and every <= period),
    constraint allowances_pkey primary key (name, subject)
)
with (fillfactor='50', autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_threshold='500');

comment on table allowances is
'One row for each rate limit and each limit subject that has used some of it lately; no row: nothing was used. May be '
'emptied at any time: everyone then starts with a full allowance. Replicas and backups don''t need it. limits.prune '
'deletes old rows.';
comment on column allowances.name is
'The setting in lower case: sends_per_user or sends_per_address.';
comment on column allowances.subject is
'The limit subject: a user''s id, an IPv4 address, or a 64-bit IPv6 network, the least that one subscriber has.';
comment on column allowances.every is
'How long until one more is allowed: the period divided by the number it allows.';
comment on column allowances.period is
'The time in which the whole allowance is restored.';
comment on column allowances.full_at is
'When the whole allowance is free again if nothing more is sent; after that, the row means nothing. Each message that '
'is let through moves it on by `every`, and none may move it further than `period` from now (GCRA).';

create table inactive_messages (
    id uuid not null,
    conversation_id uuid not null,
    role varchar(20) not null,
    content text not null,
    token_count integer,
    model_tag varchar(100),
    inference_time_ms integer,
    created_at timestamptz not null,
    finish_reason varchar(20),
    "position" bigint not null,
    reasoning text,
    tool_calls json,
    tool_call_id text,
    usage json,
    is_refused boolean,
    parent_position bigint not null,
    constraint inactive_messages_pkey primary key (id, conversation_id),
    constraint inactive_messages_conversation_id_fkey
        foreign key (conversation_id) references conversations(id) on delete cascade
);

comment on table inactive_messages is
'What was said off the active path: other versions of questions and answers, and what was said after those. A switch '
'moves rows between this table and messages, whose columns mean the same; ids and positions stay.';
comment on column inactive_messages.id is
'Made by chat_uuid7(), so in the order of time; in an adopted database, older ids may be random.';
comment on column inactive_messages.conversation_id is
'The conversation that it belongs to, and with which it is deleted.';
comment on column inactive_messages.role is
'Who says it: user, assistant (the model), system, or tool (the result of a tool call).';
comment on column inactive_messages.content is
'The text as sent, or as far as it was generated when the generation ended.';
comment on column inactive_messages.token_count is
'Tokens that the model generated for this answer. Null for a user''s message, and reads as 0: an earlier service wrote '
'nulls.';
comment on column inactive_messages.model_tag is
'The model that answered. Null reads as the empty string.';
comment on column inactive_messages.inference_time_ms is
'Milliseconds from the call to the inference service to its last token. Null reads as 0.';
comment on column inactive_messages.created_at is
'When it was stored, for people to read. The order is that of position.';
comment on column inactive_messages.finish_reason is
'Null for a user''s message and for answers older than this column. Otherwise: stop (the model ended), length (its '
'limit was reached), tool_calls (it waits for the results of its calls), content_filter (the model server withheld the '
'rest), stopped (the user stopped it), interrupted (the worker or the stream broke off), error.';
comment on column inactive_messages."position" is
'Place in the conversation: read oldest first by it. Rows from before this column have negative numbers.';
comment on column inactive_messages.reasoning is
'What the model thought before and while it answered; null if it didn''t say. Never sent to a model again.';
comment on column inactive_messages.tool_calls is
'The calls of the caller''s tools that the model asked for: [{"id","name","arguments"}], arguments being JSON text, '
'perhaps cut off. Null if there are none.';
comment on column inactive_messages.tool_call_id is
'For a message of the role tool: the id of the call that it answers.';
comment on column inactive_messages.usage is
'What the model server counted, in tokens: {"prompt_tokens","completion_tokens","reasoning_tokens","cached_tokens"}, '
'each null where it doesn''t say. Null for a question, and where it says nothing.';
comment on column inactive_messages.is_refused is
'True for a question, or a tool''s result, that the model server refused: no later question takes it along. Null for '
'all others.';
comment on column inactive_messages.parent_position is
'The position of the message that it comes after, here or in messages; 0: it begins the conversation.';

create index idx_inactive_messages_parent on inactive_messages using btree (conversation_id, parent_position,
    "position") include (id);

create index idx_inactive_messages_position on inactive_messages using btree (conversation_id, "position");

create table queued_messages (
    id uuid default chat_uuid7() not null,
    conversation_id uuid not null,
    content text not null,
    request json not null,
    idempotency_key varchar(200),
    "position" bigint default nextval('public.chat_position'::regclass) not null,
    created_at timestamptz default now() not null,
    constraint queued_messages_pkey primary key (id),
    constraint queued_messages_conversation_id_fkey
        foreign key (conversation_id) references conversations(id) on delete cascade
);

comment on table queued_messages is
'Messages whose turn comes when the answer that is being written has ended, oldest first by position. The statement '
'that starts the answer (generations.start) moves the row to messages, where it keeps its id: so it is sent once.';
comment on column queued_messages.id is
'Made by chat_uuid7(). The message keeps it when it is sent.';
comment on column queued_messages.conversation_id is
'The conversation in which it waits, and with which it is deleted.';
comment on column queued_messages.content is
'The text as sent.';
comment on column queued_messages.request is
'The rest of the request: {"temperature","tools",…}, each optional.';
comment on column queued_messages.idempotency_key is
'The Idempotency-Key of the request; generations.idempotency_key once it is sent.';
comment on column queued_messages."position" is
'The order in which those of one conversation are sent; a message gets another one when it is sent.';
comment on column queued_messages.created_at is
'When it was put into the queue.';

create index idx_queued_messages_conversation on queued_messages using btree (conversation_id, "position");

create unique index uq_queued_messages_idempotency_key on queued_messages using btree (conversation_id,
    idempotency_key)
    where idempotency_key is not null;

create table usage (
    id uuid not null,
    user_id uuid,
    conversation_id uuid,
    kind varchar(10) not null,
    model_tag varchar(100) not null,
    server varchar(200),
    status varchar(12) not null,
    error_code varchar(50),
    started_at timestamptz not null,
    ended_at timestamptz default now() not null,
    day date default (now() at time zone 'utc'::text) not null,
    prompt_tokens integer not null,
    cached_tokens integer not null,
    reasoning_tokens integer not null,
    completion_tokens integer not null,
    is_estimated boolean not null,
    milliseconds integer not null,
    cost numeric,
    currency varchar(3),
    price json,
    constraint ck_usage_cost check ((cost is null) = (currency is null)),
    constraint ck_usage_kind
        check (kind::text = any (array['send'::varchar, 'regenerate'::varchar, 'results'::varchar,
            'continue'::varchar, 'title'::varchar]::text[])),
    constraint ck_usage_status
        check (status::text = any (array['completed'::varchar, 'stopped'::varchar, 'failed'::varchar,
            'interrupted'::varchar]::text[])),
    constraint usage_pkey primary key (id)
)
with (autovacuum_vacuum_insert_scale_factor='0.02', autovacuum_analyze_scale_factor='0.02');

comment on table usage is
'What each run of a model used: one row for each, written by the statement that ends it. No foreign keys: it outlives '
'conversations, and what is erased of a user leaves the numbers.';
comment on column usage.id is
'The id of the answer (generations.id), which may be gone by now. A title has an id of its own.';
comment on column usage.user_id is
'Who asked. Null: the user was erased.';
comment on column usage.conversation_id is
'Where it was asked; that conversation may be gone. Null: the user was erased.';
comment on column usage.kind is
'As generations.kind; or title, for a conversation''s title that a model made.';
comment on column usage.model_tag is
'The model that was asked, by its tag in MODELS_FILE. Without such a file: the conversation''s model_tag.';
comment on column usage.server is
'The model server that was asked last, by its name in MODELS_FILE. Null: none was, or its worker died.';
comment on column usage.status is
'How it ended, as generations.status. stopped also where its conversation was deleted meanwhile.';
comment on column usage.error_code is
'Why it failed or was cut, as generations.error_code.';
comment on column usage.started_at is
'When it was asked for.';
comment on column usage.ended_at is
'When it ended.';
comment on column usage.day is
'The day on which it ended, in UTC. Budgets and reports go by it.';
comment on column usage.prompt_tokens is
'Tokens that the model read, cached_tokens included.';
comment on column usage.cached_tokens is
'Those of prompt_tokens that the model server had computed before; 0 where it doesn''t say.';
comment on column usage.reasoning_tokens is
'Those of completion_tokens that are thinking; 0 where the model server doesn''t say.';
comment on column usage.completion_tokens is
'Tokens that the model generated, thinking included.';
comment on column usage.is_estimated is
'Whether the model server didn''t say prompt_tokens or completion_tokens. Then the prompt is estimated as a token for '
'four bytes, and the completion is what the stream had: usually a token a piece.';
comment on column usage.milliseconds is
'Milliseconds from the call of the model server to the end; 0 where its worker died.';
comment on column usage.cost is
'What it cost by the model''s price at that time. Null: the model had none.';
comment on column usage.currency is
'The currency of cost, by ISO 4217.';
comment on column usage.price is
'The price by which cost was computed: what a million tokens cost, {"currency","prompt","cached","completion"}.';

create index idx_usage_day on usage using btree (day, model_tag);

create index idx_usage_user_day on usage using btree (user_id, day) where user_id is not null;

create table budgets (
    id uuid default chat_uuid7() not null,
    scope varchar(10) not null,
    user_id uuid,
    model_tag varchar(100),
    period varchar(5) not null,
    unit varchar(7) not null,
    currency varchar(3),
    amount numeric,
    constraint ck_budgets_amount check (amount >= 0::numeric and amount < 'Infinity'::numeric),
    constraint ck_budgets_exception check (amount is not null or scope::text = 'user'::text),
    constraint ck_budgets_model check (model_tag::text <> ''::text),
    constraint ck_budgets_period
        check (period::text = any (array['day'::varchar, 'week'::varchar, 'month'::varchar]::text[])),
    constraint ck_budgets_scope
        check ((scope::text = any (array['everybody'::varchar, 'each'::varchar, 'user'::varchar]::text[]))
            and (scope::text = 'user'::text) = (user_id is not null)),
    constraint ck_budgets_unit
        check ((unit::text = any (array['tokens'::varchar, 'cost'::varchar, 'answers'::varchar]::text[]))
            and (unit::text = 'cost'::text) = (currency is not null)),
    constraint budgets_pkey primary key (id)
);

comment on table budgets is
'What may be used: of tokens, money or answers, in a calendar day, week or month (UTC). Whoever has used that much '
'gets no further answer until the next one begins. A change counts at once, with what was used before.';
comment on column budgets.id is
'What chat-api budget remove takes.';
comment on column budgets.scope is
'Whose budget it is: everybody, all users together; each, every user by itself; user, the one user in user_id, in '
'place of a budget of the same model, period and unit for each.';
comment on column budgets.user_id is
'The user, for the scope user.';
comment on column budgets.model_tag is
'The model, as usage.model_tag; null: all models together.';
comment on column budgets.period is
'A calendar day, week (it begins on Monday) or month, in UTC.';
comment on column budgets.unit is
'Of what it is: tokens (of prompts and completions), cost (in currency) or answers (not those that failed without a '
'word).';
comment on column budgets.currency is
'For the unit cost: by ISO 4217. What costs something in another currency isn''t counted.';
comment on column budgets.amount is
'How much. Null, for the scope user: no limit.';

create unique index uq_budgets_subject on budgets using btree (coalesce(user_id,
    '00000000-0000-0000-0000-000000000000'::uuid), scope, coalesce(model_tag, ''::varchar), period, unit,
    coalesce(currency, ''::varchar));

create table spending (
    user_id uuid not null,
    model_tag varchar(100) not null,
    period varchar(5) not null,
    unit varchar(7) not null,
    currency varchar(3) not null,
    began date not null,
    spent numeric not null,
    constraint spending_pkey primary key (user_id, model_tag, period, unit, currency)
)
with (fillfactor='50', autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_threshold='500');

comment on table spending is
'The sums of usage that budgets are held against. May be emptied at any time: what is missing is summed up from usage '
'again.';
comment on column spending.user_id is
'Whose usage; the id of only zeros: everybody''s.';
comment on column spending.model_tag is
'Of which model, as usage.model_tag; an empty text: of all.';
comment on column spending.period is
'Of which period, as budgets.period.';
comment on column spending.unit is
'Of which unit, as budgets.unit.';
comment on column spending.currency is
'Of which currency, as budgets.currency; an empty text: of none.';
comment on column spending.began is
'The first day of the period that spent is about. Another one: spent means nothing now.';
comment on column spending.spent is
'What was used since then. What running answers may use isn''t in it.';

create table legal_hold (
    id uuid default chat_uuid7() not null,
    user_id uuid,
    conversation_id uuid,
    since timestamptz default now() not null,
    reason text not null,
    held_by text default current_user not null,
    constraint ck_legal_hold_reason check (reason <> ''::text),
    constraint ck_legal_hold_subject check (num_nonnulls(user_id, conversation_id) = 1),
    constraint legal_hold_pkey primary key (id)
);

comment on table legal_hold is
'What is kept until the hold is lifted (the row deleted): no retention, no user and no erasure deletes it. Only the '
'owner of the tables sets and lifts holds; the service reads them.';
comment on column legal_hold.id is
'Names the hold, to lift it.';
comment on column legal_hold.user_id is
'All conversations of this user, later ones too. No foreign key: the hold outlives the account.';
comment on column legal_hold.conversation_id is
'This conversation alone. Either this or user_id.';
comment on column legal_hold.since is
'When it was set.';
comment on column legal_hold.reason is
'Why, as a file number. The service shows it to nobody.';
comment on column legal_hold.held_by is
'Who set it; by default the database role.';

create unique index uq_legal_hold_conversation on legal_hold using btree (conversation_id)
    where conversation_id is not null;

create unique index uq_legal_hold_user on legal_hold using btree (user_id) where user_id is not null;

create table api_keys (
    id uuid default chat_uuid7() not null,
    user_id uuid not null,
    name varchar(100) not null,
    shown varchar(20) not null,
    digest bytea not null,
    scopes text[] not null,
    created_at timestamptz default now() not null,
    expires_at timestamptz,
    last_used_at timestamptz,
    constraint ck_api_keys_digest check (octet_length(digest) = 32),
    constraint ck_api_keys_name check (name::text <> ''::text),
    constraint ck_api_keys_scopes check (cardinality(scopes) > 0 and scopes <@ '{read,chat,admin}'::text[]),
    constraint api_keys_pkey primary key (id)
);

comment on table api_keys is
'The API keys that sign in, where AUTH names keys. A revoked key is deleted. `chat-api key` makes, lists and revokes '
'them; the service itself can make none.';
comment on column api_keys.id is
'Names the key, to revoke it. Not the key.';
comment on column api_keys.user_id is
'Whom the key signs in. No foreign key: users belong to the auth service.';
comment on column api_keys.name is
'What it is for, such as the name of a program.';
comment on column api_keys.shown is
'The beginning of the key, by which people tell theirs apart; too little to guess the rest.';
comment on column api_keys.digest is
'SHA-256 of the key. The key itself has 160 random bits, and is shown once, when it is made.';
comment on column api_keys.scopes is
'What it may be used for: read, chat (send, change, delete) and admin (what administrators may).';
comment on column api_keys.created_at is
'When it was made.';
comment on column api_keys.expires_at is
'From when on it signs nobody in. Null: never.';
comment on column api_keys.last_used_at is
'When it was last used, to a minute or so. Null: never.';

create index idx_api_keys_user on api_keys using btree (user_id);

create unique index uq_api_keys_digest on api_keys using btree (digest);

create unlogged table tickets (
    digest bytea not null,
    user_id uuid not null,
    expires_at timestamptz not null,
    token_expires_at double precision not null,
    constraint ck_tickets_digest check (octet_length(digest) = 32),
    constraint tickets_pkey primary key (digest)
)
with (autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_threshold='500');

comment on table tickets is
'Tickets that nobody has used yet: each attaches to one stream (POST /api/tickets), and is deleted by that. May be '
'emptied at any time; replicas and backups don''t need it. tickets.prune deletes old rows.';
comment on column tickets.digest is
'SHA-256 of the ticket, which has 160 random bits.';
comment on column tickets.user_id is
'Whom the ticket signs in.';
comment on column tickets.expires_at is
'When it is too old to be used, 30 seconds after it was made.';
comment on column tickets.token_expires_at is
'When the token that it was made with expires, in Unix seconds: the stream ends then, with EXPIRED_STREAMS=cut.';

create schema chat_report;

comment on schema chat_report is
'Views for reports, with promised columns and without any text of conversations. chat_grant_reader(role) lets a role '
'read them.';

create type chat_budget as (
	scope varchar,
	user_id uuid,
	model_tag varchar,
	period varchar,
	unit varchar,
	currency varchar,
	amount numeric
);

comment on type chat_budget is
'A budget that a user is held against: as a row of budgets, but user_id is null only for everybody''s.';

create function chat_activate(conversation uuid, message uuid) returns varchar
    language plpgsql
    as $$
declare
    entering uuid[];
    branch bigint;
begin
    if exists (select from messages where id = message and conversation_id = conversation) then
        return 'updated';
    end if;

    -- Up to the active path, then down by the newest message each time.
    with recursive up (id, position, parent_position) as (
        select m.id, m.position, m.parent_position
        from inactive_messages as m
        where m.id = message and m.conversation_id = conversation
        union all
        select m.id, m.position, m.parent_position
        from up
        inner join inactive_messages as m on m.conversation_id = conversation and m.position = up.parent_position
    ),
    down (id, position) as (
        select m.id, m.position
        from inactive_messages as m
        where m.id = message and m.conversation_id = conversation
        union all
        select n.id, n.position
        from down
        cross join lateral (
            select m.id, m.position
            from inactive_messages as m
            where m.conversation_id = conversation and m.parent_position = down.position
            order by m.position desc
            limit 1
        ) as n
    )
    select
        array(select up.id from up union select down.id from down),
        (select up.parent_position from up order by up.position limit 1)
    into entering, branch;

    if branch is null then
        return 'no_message';
    end if;
    if exists (select from generations where conversation_id = conversation and status = 'running') then
        return 'running';
    end if;

    with leaving as (
        delete from messages as m
        where
            m.conversation_id = conversation
            and m.position > case when branch = 0 then -9223372036854775808 else branch end
        returning m.*
    )
    insert into inactive_messages (
        id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason,
        position, reasoning, tool_calls, tool_call_id, usage, is_refused, parent_position
    )
    select
        id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason,
        position, reasoning, tool_calls, tool_call_id, usage, is_refused,
        coalesce(parent_position, lag(position) over (order by position), branch)
    from leaving;

    with arriving as (
        delete from inactive_messages as m
        where m.id = any(entering) and m.conversation_id = conversation
        returning m.*
    )
    insert into messages (
        id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason,
        position, reasoning, tool_calls, tool_call_id, usage, is_refused, parent_position
    )
    select
        id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason,
        position, reasoning, tool_calls, tool_call_id, usage, is_refused,
        case
            when exists (
                select from inactive_messages as other
                where
                    other.conversation_id = conversation
                    and other.parent_position = a.parent_position
                    and other.id <> a.id
            ) then a.parent_position
        end
    from arriving as a;
    return 'switched';
end
$$;

comment on function chat_activate(conversation uuid, message uuid) is
'Makes the path through a message the active one, down to its newest end. The caller has locked the conversation''s '
'row. Returns switched, updated (it was the active one already), no_message (the conversation has none with this id), '
'or running: an answer is being written, and nothing was done.';

create function chat_admit(whose uuid, conversation uuid, key varchar, max_running integer, limits json,
    out limited_by varchar, out seconds_to_wait double precision) returns record
    language plpgsql security definer
    set search_path to '$user', 'public', 'pg_temp'
    as $$
declare
    is_alone boolean := false;
    moment timestamptz;
begin
    loop
        moment := clock_timestamp();
        -- The first check serves the common refusal, which then waits for nothing and writes nothing.
        select r.name, r.seconds into limited_by, seconds_to_wait
        from (
            select l.name, extract(epoch from a.full_at + l.every - l.period - moment) as seconds
            from json_to_recordset(limits) as l (name varchar, subject varchar, every interval, period interval)
            cross join lateral (
                select full_at from allowances
                where name = l.name and subject = l.subject and full_at <= moment + allowances.period
                limit 1
            ) as a
            where a.full_at + l.every > moment + l.period
            union all
            select 'max_answers_per_user', null
            where max_running > 0 and max_running <= (
                select count(*) from generations where holder_id = whose and finished_at is null
            )
        ) as r
        order by r.seconds desc nulls first
        limit 1;

        -- Checked after the limits, so that an answer that took the missing allowance is seen here.
        if (limited_by is not null or is_alone) and exists (
            select from generations
            where conversation_id = conversation and (status = 'running' or idempotency_key = key)
        ) then
            limited_by := 'crowded';
            seconds_to_wait := null;
        end if;

        if limited_by is not null or is_alone then
            exit;
        end if;

        -- The lock that the start's foreign key takes later. If a deletion were waited for only then, with the locks
        -- below already held, deleting one large conversation would block a whole network. A stronger lock could
        -- deadlock with starts that aren't limited, which write to the conversation last.
        perform from conversations where id = conversation for key share;
        -- Then addresses, then the user: always in this order, so that two calls never wait for each other.
        perform pg_advisory_xact_lock(hashtext('chat sends_per_address'), hashtext(l.subject))
        from json_to_recordset(limits) as l (name varchar, subject varchar)
        where l.name = 'sends_per_address';
        perform pg_advisory_xact_lock(hashtext('chat sends_per_user'), hashtext(cast(whose as text)));
        is_alone := true;
    end loop;

    if limited_by is null then
        insert into allowances as a (name, subject, every, period, full_at)
        select l.name, l.subject, l.every, l.period, moment + l.every
        from json_to_recordset(limits) as l (name varchar, subject varchar, every interval, period interval)
        on conflict (name, subject) do update
        set
            every = excluded.every,
            period = excluded.period,
            full_at = excluded.every
            + case when a.full_at between moment and moment + a.period then a.full_at else moment end;
    end if;
end
$$;

comment on function chat_admit(whose uuid, conversation uuid, key varchar, max_running integer, limits json,
    
    out limited_by varchar, out seconds_to_wait double precision) is
'Takes what a new answer costs from the limits, exactly, whatever runs at the same moment; called by '
'generations.start. limited_by: null: it was taken. Otherwise nothing was taken: it names the limit, or is crowded: '
'another answer has just started in this conversation, or with this key. seconds_to_wait: until that limit lets one '
'through; null: unknown.';

revoke all on function chat_admit(whose uuid, conversation uuid, key varchar, max_running integer, limits json,
    out limited_by varchar, out seconds_to_wait double precision) from public;

create function chat_budgets(whose uuid, model varchar) returns setof chat_budget
    language sql stable
    as $$
    select
        b.scope, case when b.scope <> 'everybody' then whose end, b.model_tag, b.period, b.unit, b.currency, b.amount
    from budgets as b
    where
        coalesce(b.user_id, '00000000-0000-0000-0000-000000000000') in ('00000000-0000-0000-0000-000000000000', whose)
        and (b.model_tag is null or model is null or b.model_tag = model)
        and not (
            b.scope = 'each'
            and exists (
                select from budgets as own
                where
                    coalesce(own.user_id, '00000000-0000-0000-0000-000000000000') = whose
                    and own.period = b.period
                    and own.unit = b.unit
                    and coalesce(own.model_tag, '') = coalesce(b.model_tag, '')
                    and coalesce(own.currency, '') = coalesce(b.currency, '')
            )
        )
        and b.amount is not null
    order by b.scope <> 'everybody', b.model_tag, b.period, b.unit, b.currency
$$;

comment on function chat_budgets(whose uuid, model varchar) is
'The budgets that a user''s answer by this model is held against: everybody''s, the user''s own, and those for each '
'user of which the user has no other. A null model: those of all models.';

create function chat_period(period varchar) returns date
    language sql stable
    as $$
    select date_trunc(period, now() at time zone 'utc')::date
$$;

comment on function chat_period(period varchar) is
'The first day of the current day, week or month, in UTC.';

create function chat_amount(used usage, budget chat_budget) returns numeric
    language sql immutable parallel safe
    as $$
    select case
        when used.id is null or used.model_tag <> budget.model_tag then 0
        when budget.unit = 'tokens' then used.prompt_tokens::bigint + used.completion_tokens
        when budget.unit = 'cost' then case when used.currency = budget.currency then used.cost else 0 end
        when used.kind = 'title' or (used.status = 'failed' and used.completion_tokens = 0) then 0
        else 1
    end
$$;

comment on function chat_amount(used usage, budget chat_budget) is
'How much of a budget a run has used; 0 of no run.';

create function chat_used(budget chat_budget) returns numeric
    language sql stable
    as $$
    select case
        when budget.user_id is null
            then (
                select coalesce(sum(chat_amount(u, budget)), 0)
                from usage as u
                where u.day >= chat_period(budget.period)
            )
        else (
            select coalesce(sum(chat_amount(u, budget)), 0)
            from usage as u
            where u.user_id = budget.user_id and u.day >= chat_period(budget.period)
        )
    end
$$;

comment on function chat_used(budget chat_budget) is
'How much of a budget was used in the current period, summed up from usage.';

create function chat_spend(budget chat_budget, added numeric) returns numeric
    language plpgsql
    set search_path to '$user', 'public', 'pg_temp'
    as $$
declare
    since constant date := chat_period(budget.period);
    total numeric;
begin
    update spending as s
    set spent = s.spent + added
    where
        s.user_id = coalesce(budget.user_id, '00000000-0000-0000-0000-000000000000')
        and s.model_tag = coalesce(budget.model_tag, '')
        and s.period = budget.period
        and s.unit = budget.unit
        and s.currency = coalesce(budget.currency, '')
        and s.began = since
    returning s.spent into total;
    if total is null then
        insert into spending as s (user_id, model_tag, period, unit, currency, began, spent)
        values (
            coalesce(budget.user_id, '00000000-0000-0000-0000-000000000000'), coalesce(budget.model_tag, ''),
            budget.period, budget.unit, coalesce(budget.currency, ''), since, chat_used(budget)
        )
        on conflict (user_id, model_tag, period, unit, currency) do update
        set
            began = since,
            -- Another statement has made it meanwhile: it hasn't seen what is added here.
            spent = case when s.began = since then s.spent + added else excluded.spent end
        returning s.spent into total;
    end if;
    return total;
end
$$;

comment on function chat_spend(budget chat_budget, added numeric) is
'Adds to the sum that a budget is held against, and returns the sum.';

create function chat_spent(budget chat_budget) returns numeric
    language sql stable
    as $$
    select coalesce(
        (
            select s.spent
            from spending as s
            where
                s.user_id = coalesce(budget.user_id, '00000000-0000-0000-0000-000000000000')
                and s.model_tag = coalesce(budget.model_tag, '')
                and s.period = budget.period
                and s.unit = budget.unit
                and s.currency = coalesce(budget.currency, '')
                and s.began = chat_period(budget.period)
        ),
        chat_used(budget)
    )
$$;

comment on function chat_spent(budget chat_budget) is
'As chat_used, but from the sum in spending where there is one.';

create function chat_cost(price json, prompt bigint, cached bigint, completion bigint) returns numeric
    language sql immutable parallel safe
    as $$
    select (
        greatest(prompt - cached, 0) * (price ->> 'prompt')::numeric
        + least(cached, prompt) * coalesce(price ->> 'cached', price ->> 'prompt')::numeric
        + completion * (price ->> 'completion')::numeric
    ) / 1000000
$$;

comment on function chat_cost(price json, prompt bigint, cached bigint, completion bigint) is
'What so many tokens cost at a price (usage.price). Null: there is no price.';

create function chat_may_use(run generations, budget chat_budget) returns numeric
    language sql stable
    as $$
    select case
        when run.model_tag <> budget.model_tag then 0
        when budget.unit = 'tokens' then coalesce(run.prompt_estimate, 0)::bigint + coalesce(run.max_tokens, 0)
        when budget.unit = 'answers' then 1
        when run.price ->> 'currency' = budget.currency
            then chat_cost(run.price, run.prompt_estimate, 0, run.max_tokens)
        else 0
    end
$$;

comment on function chat_may_use(run generations, budget chat_budget) is
'How much of a budget a running answer may use.';

create function chat_reserved(budget chat_budget) returns numeric
    language sql stable
    as $$
    select case
        when budget.user_id is null
            then (
                select coalesce(sum(chat_may_use(g, budget)), 0)
                from generations as g
                where g.status = 'running'
            )
        else (
            select coalesce(sum(chat_may_use(g, budget)), 0)
            from generations as g
            where g.holder_id = budget.user_id and g.finished_at is null
        )
    end
$$;

comment on function chat_reserved(budget chat_budget) is
'What running answers may use of a budget.';

create function chat_budget_state(budget chat_budget, spent numeric) returns json
    language sql stable
    as $$
    select json_build_object(
        'scope', budget.scope,
        'model', budget.model_tag,
        'period', budget.period,
        'unit', budget.unit,
        'currency', budget.currency,
        'amount', budget.amount,
        'spent', spent,
        'reserved', r.reserved,
        'left', greatest(budget.amount - spent - r.reserved, 0),
        'begins_anew', to_char(e.at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
        'seconds', ceil(extract(epoch from e.at - now() at time zone 'utc'))
    )
    from (select chat_period(budget.period) + ('1 ' || budget.period)::interval as at) as e
    cross join chat_reserved(budget) as r (reserved)
$$;

comment on function chat_budget_state(budget chat_budget, spent numeric) is
'A budget as clients see it: how much is left of it, and when its next period begins.';

create function chat_afford(whose uuid, conversation uuid, key varchar, model varchar, out refused_by json,
    out is_crowded boolean) returns record
    language plpgsql security definer
    set search_path to '$user', 'public', 'pg_temp'
    as $$
declare
    budget chat_budget;
    spent numeric;
    is_alone boolean;
begin
    is_crowded := false;
    -- The first round serves the common refusal, which then waits for nothing and writes nothing.
    foreach is_alone in array array[false, true] loop
        if is_alone then
            -- As generations.finish does, before it locks a sum: otherwise the two could deadlock. From here on, no other
            -- answer starts in this conversation.
            perform from conversations where id = conversation for no key update;
            is_crowded := exists (
                select from generations
                where conversation_id = conversation and (status = 'running' or idempotency_key = key)
            );
            if is_crowded then
                return;
            end if;
        end if;
        for budget in select * from chat_budgets(whose, model) loop
            spent := case when is_alone then chat_spend(budget, 0) else chat_spent(budget) end;
            -- What is reserved is added up only where it decides.
            if spent >= budget.amount or (is_alone and spent + chat_reserved(budget) >= budget.amount) then
                refused_by := chat_budget_state(budget, spent);
                return;
            end if;
        end loop;
    end loop;
end
$$;

comment on function chat_afford(whose uuid, conversation uuid, key varchar, model varchar, out refused_by json,
    
    out is_crowded boolean) is
'Whether all budgets that a new answer is held against have something left, beside what running answers may use; '
'called by generations.start. Their sums stay locked until its end, so that no two answers take the same rest. '
'refused_by: the budget that has nothing left. is_crowded: another answer has just started in this conversation, or '
'with this key.';

revoke all on function chat_afford(whose uuid, conversation uuid, key varchar, model varchar, out refused_by json,
    out is_crowded boolean) from public;

create function chat_budget_states(whose uuid) returns setof json
    language sql stable security definer
    set search_path to '$user', 'public', 'pg_temp'
    as $$
    select chat_budget_state(b, chat_spent(b)) from chat_budgets(whose, null) as b
$$;

comment on function chat_budget_states(whose uuid) is
'The budgets that a user''s answers are held against, and what is left of each.';

revoke all on function chat_budget_states(whose uuid) from public;

create function chat_for_user(user_id uuid, conversation_id uuid) returns boolean
    language sql
    as $$
    select set_config('chat.user_id', coalesce(user_id::text, ''), true) is not null
        and set_config('chat.conversation_id', coalesce(conversation_id::text, ''), true) is not null
$$;

comment on function chat_for_user(user_id uuid, conversation_id uuid) is
'Says for whom this statement works: a user, and the conversation that it is about, or null. Returns true. It belongs, '
'as (select chat_for_user(…)), into the WHERE of the outermost select, which PostgreSQL evaluates first.';

create function chat_copy(whose uuid, source uuid, target uuid, message_ids uuid[]) returns uuid
    language plpgsql
    as $$
declare
    said json;
begin
    select json_agg(m order by m.position) into said
    from (
        select
            role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason, position, reasoning,
            tool_calls, tool_call_id, is_refused
        from messages
        where id = any(message_ids) and conversation_id = source
        union all
        select
            role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason, position, reasoning,
            tool_calls, tool_call_id, is_refused
        from inactive_messages
        where id = any(message_ids) and conversation_id = source
    ) as m;

    -- Row-level security lets a statement see and write what belongs to one conversation: up to here, to the other one.
    perform chat_for_user(whose, target);
    insert into messages (
        conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason, reasoning,
        tool_calls, tool_call_id, is_refused
    )
    select
        target, m.role, m.content, m.token_count, m.model_tag, m.inference_time_ms, m.created_at, m.finish_reason,
        m.reasoning, m.tool_calls, m.tool_call_id, m.is_refused
    from json_to_recordset(said) as m (
        role varchar(20), content text, token_count integer, model_tag varchar(100), inference_time_ms integer,
        created_at timestamptz, finish_reason varchar(20), position bigint, reasoning text, tool_calls json,
        tool_call_id text, is_refused boolean
    )
    order by m.position;
    perform chat_for_user(whose, source);
    return target;
end
$$;

comment on function chat_copy(whose uuid, source uuid, target uuid, message_ids uuid[]) is
'Copies messages of one conversation of a user to the end of another, in the order of their positions. Returns the '
'other.';

create function chat_is_held(conversation uuid) returns boolean
    language sql stable
    as $$
    select exists (
        select from legal_hold as h
        where
            h.conversation_id = conversation
            or h.user_id = (select c.user_id from conversations as c where c.id = conversation)
    )
$$;

comment on function chat_is_held(conversation uuid) is
'Whether a conversation, or all of its owner, is on legal hold.';

create function chat_set_aside(conversation uuid) returns void
    language sql security definer
    set search_path to '$user', 'public', 'pg_temp'
    as $$
    update conversations
    set user_id = null
    where
        id = conversation
        and current_setting('chat.user_id', true) in ('*', cast(user_id as text))
$$;

comment on function chat_set_aside(conversation uuid) is
'Takes a conversation away from its owner, for whom the statement works (or for all): nobody finds it any more.';

revoke all on function chat_set_aside(conversation uuid) from public;

create function chat_delete(conversation uuid) returns varchar
    language plpgsql
    as $$
begin
    if chat_is_held(conversation) then
        return 'held';
    end if;
    if (
        select count(*) <= 1000
        from (
            select from (select from messages where conversation_id = conversation limit 1001) as m
            union all
            select from (select from inactive_messages where conversation_id = conversation limit 1001) as i
            union all
            select from (select from generations where conversation_id = conversation limit 1001) as g
        ) as r
    ) then
        delete from conversations where id = conversation;
        return 'deleted';
    end if;
    -- Not deleted: a worker brings in an answer whose row a failover lost, as long as there is the conversation.
    update generations set stop_requested_at = coalesce(stop_requested_at, now())
    where conversation_id = conversation and status = 'running';
    delete from queued_messages where conversation_id = conversation;
    perform chat_set_aside(conversation);
    return 'set aside';
end
$$;

comment on function chat_delete(conversation uuid) is
'Deletes a conversation whose row the caller has locked for update, unless it is on legal hold (held). Up to 1,000 '
'rows go at once (deleted). A larger one loses its owner and what waits for its turn, its answer is stopped, and its '
'rows go in pieces (set aside).';

create function chat_for_everyone() returns boolean
    language sql
    as $$
    select set_config('chat.user_id', '*', true) is not null
$$;

comment on function chat_for_everyone() is
'Says that this statement works for all users at once, as clean-up does. Returns true. Used like chat_for_user.';

create function chat_missing_rights(service_role name) returns setof text
    language sql stable
    as $$
    select format('grant usage on schema %I to %I', current_schema(), service_role)
    where not has_schema_privilege(service_role, current_schema(), 'usage')
    union all
    select case
        when privilege = 'execute'
            then format('grant execute on function %s to %I', object::regprocedure, service_role)
        else format(
            'grant %s%s on %s to %I',
            privilege,
            (select ' (' || string_agg(quote_ident(name), ', ') || ')' from unnest(columns) as c (name)),
            object::regclass,
            service_role
        )
    end
    from service_rights
    where case
        when privilege = 'execute' then not has_function_privilege(service_role, object, privilege)
        when columns = '{}' then not has_table_privilege(service_role, object, privilege)
        else exists (
            select from unnest(columns) as c (name)
            where not has_column_privilege(service_role, object, name, privilege)
        )
    end
$$;

comment on function chat_missing_rights(service_role name) is
'The statements that grant a role what it lacks to run the service; no row: nothing is missing. Changes nothing.';

create function chat_grant(service_role name) returns setof text
    language plpgsql
    as $$
declare
    missing text;
begin
    for missing in select chat_missing_rights(service_role) loop
        execute missing;
        return next missing;
    end loop;
end
$$;

comment on function chat_grant(service_role name) is
'Grants a role what it lacks to run the service, and returns the statements that did so. For the owner of the tables.';

create function chat_grant_reader(reader name) returns setof text
    language plpgsql
    set search_path to 'pg_catalog', 'pg_temp'
    as $$
declare
    missing text;
begin
    -- Otherwise PostgreSQL would warn, and grant nothing.
    if not (select pg_has_role(nspowner, 'usage') from pg_namespace where nspname = 'chat_report') then
        raise insufficient_privilege using message = format(
            'this is for the owner of the schema chat_report, %I, and you are %I',
            (select pg_get_userbyid(nspowner) from pg_namespace where nspname = 'chat_report'), current_user
        );
    end if;
    if not exists (select from pg_roles where rolname = reader) then
        raise undefined_object using
            message = format(
                'there is no role %I: create it first, for example by `create role %I login`', reader, reader
            );
    end if;
    for missing in
        select format('grant usage on schema chat_report to %I', reader)
        where not has_schema_privilege(reader, 'chat_report', 'usage')
        union all
        -- Of the views that a DBA added, those of another owner are that owner's to grant.
        select format('grant select on %s to %I', v.oid::regclass, reader)
        from pg_class as v
        where
            v.relnamespace = 'chat_report'::regnamespace
            and v.relkind = 'v'
            and pg_has_role(v.relowner, 'usage')
            and not has_table_privilege(reader, v.oid, 'select')
        order by 1
    loop
        execute missing;
        return next missing;
    end loop;
end
$$;

comment on function chat_grant_reader(reader name) is
'Lets a role read the views of chat_report, and no table; returns the statements that did so. For the owner of the '
'tables. Views that come with later releases are granted by their migrations.';

create function chat_tokens(counted json, kind text) returns integer
    language sql immutable parallel safe
    as $$
    select case
        when json_typeof(counted -> kind) = 'number'
            then least(greatest((counted ->> kind)::numeric, 0), 2147483647)::integer
    end
$$;

comment on function chat_tokens(counted json, kind text) is
'One number of generations.usage; null: the model server didn''t say.';

create function chat_use(run uuid, whose uuid, conversation uuid, kind varchar, model varchar, server varchar,
    status varchar, error varchar, began timestamptz, took integer, price json, counted json, said integer,
    prompt_estimate integer) returns void
    language plpgsql security definer
    set search_path to '$user', 'public', 'pg_temp'
    as $$
declare
    used usage;
    known usage;
    budget chat_budget;
begin
    used.id := run;
    used.user_id := whose;
    used.conversation_id := conversation;
    used.kind := kind;
    used.model_tag := model;
    used.server := left(server, 200);
    used.status := status;
    used.error_code := error;
    used.started_at := began;
    used.milliseconds := took;
    used.price := price;
    -- Of a run that failed before the model said anything, nobody knows that it read the prompt.
    used.prompt_tokens := coalesce(
        chat_tokens(counted, 'prompt_tokens'),
        case when status = 'failed' and said = 0 then 0 else prompt_estimate end,
        0
    );
    used.cached_tokens := coalesce(chat_tokens(counted, 'cached_tokens'), 0);
    used.reasoning_tokens := coalesce(chat_tokens(counted, 'reasoning_tokens'), 0);
    used.completion_tokens := coalesce(chat_tokens(counted, 'completion_tokens'), said, 0);
    used.is_estimated :=
        chat_tokens(counted, 'prompt_tokens') is null or chat_tokens(counted, 'completion_tokens') is null;
    used.cost := chat_cost(price, used.prompt_tokens, used.cached_tokens, used.completion_tokens);
    used.currency := case when used.cost is not null then price ->> 'currency' end;

    insert into usage (
        id, user_id, conversation_id, kind, model_tag, server, status, error_code, started_at, prompt_tokens,
        cached_tokens, reasoning_tokens, completion_tokens, is_estimated, milliseconds, cost, currency, price
    )
    values (
        used.id, used.user_id, used.conversation_id, used.kind, used.model_tag, used.server, used.status,
        used.error_code, used.started_at, used.prompt_tokens, used.cached_tokens, used.reasoning_tokens,
        used.completion_tokens, used.is_estimated, used.milliseconds, used.cost, used.currency, used.price
    )
    on conflict (id) do nothing;
    if not found then
        select u.* into known from usage as u where u.id = run for update;
        update usage as u
        set
            server = coalesce(used.server, u.server),
            status = used.status,
            error_code = used.error_code,
            prompt_tokens = used.prompt_tokens,
            cached_tokens = used.cached_tokens,
            reasoning_tokens = used.reasoning_tokens,
            completion_tokens = used.completion_tokens,
            is_estimated = used.is_estimated,
            milliseconds = used.milliseconds,
            cost = used.cost,
            currency = used.currency
        where u.id = run;
    end if;

    for budget in select * from chat_budgets(whose, model) loop
        perform chat_spend(budget, chat_amount(used, budget) - chat_amount(known, budget));
    end loop;
end
$$;

comment on function chat_use(run uuid, whose uuid, conversation uuid, kind varchar, model varchar, server varchar,
    
    status varchar, error varchar, began timestamptz, took integer, price json, counted json, said integer,
    
    prompt_estimate integer) is
'Notes what a run used, once for each id; a second call corrects the first. The tokens are taken from what the model '
'server counted (generations.usage), else from the tokens that it said and the estimate of its prompt.';

revoke all on function chat_use(run uuid, whose uuid, conversation uuid, kind varchar, model varchar,
    server varchar, status varchar, error varchar, began timestamptz, took integer, price json, counted json,
    said integer, prompt_estimate integer) from public;

create function chat_note_usage() returns trigger
    language plpgsql security definer
    set search_path to '$user', 'public', 'pg_temp'
    as $$
declare
    run generations := case when tg_op = 'DELETE' then old else new end;
    whose uuid := run.holder_id;
    model varchar := run.model_tag;
begin
    if whose is null or model is null then
        select coalesce(whose, c.user_id), coalesce(model, nullif(c.model_tag, '')) into whose, model
        from conversations as c
        where c.id = run.conversation_id;
    end if;
    perform chat_use(
        run.id, whose, run.conversation_id, run.kind, coalesce(model, run.model_tag, 'default'),
        run.tries -> -1 ->> 'server', case when tg_op = 'DELETE' then 'stopped' else run.status end, run.error_code,
        run.started_at, run.inference_time_ms, run.price, run.usage, run.token_count, run.prompt_estimate
    );
    return null;
end
$$;

comment on function chat_note_usage() is
'Notes in usage what an answer used, when it ends.';

create function chat_sees_platform_users() returns boolean
    language sql stable
    as $$
    select exists (
        select from pg_attribute
        where attrelid = to_regclass('users') and attname = 'id' and atttypid = 'uuid'::regtype
            and attnum > 0 and not attisdropped and has_column_privilege(attrelid, attnum, 'select')
    )
$$;

comment on function chat_sees_platform_users() is
'Whether the platform''s table users is in this database, with ids that this role may read.';

create function chat_platform_users(max_rows integer, before_login_at timestamptz,
    before_id uuid) returns table(id uuid, email text, name text, provider text, created_at timestamptz,
    last_login_at timestamptz)
    language plpgsql stable
    as $_$
declare
    wanted text;
begin
    if not chat_sees_platform_users() then
        return;
    end if;
    select string_agg(
        format(
            'cast(%s as %s) as %I',
            case
                when has_column_privilege(a.attrelid, a.attnum, 'select') then format('u.%I', w.attname)
                else 'null'
            end,
            w.type,
            w.attname
        ),
        ', ' order by w.place
    ) into strict wanted
    from (values
        (1, 'id', 'uuid'),
        (2, 'email', 'text'),
        (3, 'name', 'text'),
        (4, 'provider', 'text'),
        (5, 'created_at', 'timestamptz'),
        (6, 'last_login_at', 'timestamptz')
    ) as w (place, attname, type)
    left join pg_attribute as a
        on a.attrelid = to_regclass('users') and a.attname = w.attname and a.attnum > 0 and not a.attisdropped
        -- Any type can be read as text, but not as a time.
        and (w.type <> 'timestamptz' or a.atttypid in ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype));
    return query execute format(
        'select o.id, o.email, o.name, o.provider, o.created_at, o.last_login_at'
        ' from (select %s from %s as u) as o'
        ' where $3 is null or (coalesce(o.last_login_at, ''epoch''), o.id) < ($2, $3)'
        ' order by coalesce(o.last_login_at, ''epoch'') desc, o.id desc'
        ' limit $1',
        wanted,
        to_regclass('users')
    ) using max_rows, before_login_at, before_id;
end
$_$;

comment on function chat_platform_users(max_rows integer, before_login_at timestamptz, before_id uuid) is
'The platform''s users, the last signed in first, as far as this role may read them; a column that is missing, or not '
'granted, is null. No row where chat_sees_platform_users() says no. It continues after the given user.';

create function chat_readers() returns setof name
    language sql stable
    set search_path to 'pg_catalog', 'pg_temp'
    as $$
    select r.rolname
    from pg_namespace as n
    cross join lateral aclexplode(n.nspacl) as acl
    inner join pg_roles as r on r.oid = acl.grantee
    where n.nspname = 'chat_report' and acl.privilege_type = 'USAGE' and acl.grantee <> n.nspowner
    order by r.rolname
$$;

comment on function chat_readers() is
'The roles that may read the reports: those to which chat_grant_reader has opened the schema chat_report.';

create function chat_revoke(service_role name) returns void
    language plpgsql
    as $$
declare
    held record;
begin
    for held in select object, privilege, columns from service_rights loop
        if held.privilege = 'execute' then
            execute format('revoke execute on function %s from %I', held.object::regprocedure, service_role);
        else
            execute format(
                'revoke %s%s on %s from %I',
                held.privilege,
                (select ' (' || string_agg(quote_ident(name), ', ') || ')' from unnest(held.columns) as c (name)),
                held.object::regclass,
                service_role
            );
        end if;
    end loop;
    execute format('revoke usage on schema %I from %I', current_schema(), service_role);
end
$$;

comment on function chat_revoke(service_role name) is
'Revokes from a role what chat_grant granted. For the owner of the tables.';

create function chat_revoke_reader(reader name) returns void
    language plpgsql
    set search_path to 'pg_catalog', 'pg_temp'
    as $$
declare
    granted text;
begin
    if not (select pg_has_role(nspowner, 'usage') from pg_namespace where nspname = 'chat_report') then
        raise insufficient_privilege using message = format(
            'this is for the owner of the schema chat_report, %I, and you are %I',
            (select pg_get_userbyid(nspowner) from pg_namespace where nspname = 'chat_report'), current_user
        );
    end if;
    if not exists (select from pg_roles where rolname = reader) then
        raise undefined_object using message = format('there is no role %I', reader);
    end if;
    for granted in
        select format('revoke select on %s from %I', v.oid::regclass, reader)
        from pg_class as v
        where v.relnamespace = 'chat_report'::regnamespace and v.relkind = 'v' and pg_has_role(v.relowner, 'usage')
    loop
        execute granted;
    end loop;
    execute format('revoke usage on schema chat_report from %I', reader);
end
$$;

comment on function chat_revoke_reader(reader name) is
'Takes from a role what chat_grant_reader gave it. For the owner of the tables.';

create function chat_service_roles() returns setof name
    language sql stable
    as $$
    select rolname from pg_roles where oid in (
        select acl.grantee
        from pg_class as c
        cross join lateral aclexplode(c.relacl) as acl
        where c.oid = 'workers'::regclass and acl.privilege_type = 'INSERT' and acl.grantee <> c.relowner
        union all
        select acl.grantee
        from pg_class as c
        inner join pg_attribute as a on a.attrelid = c.oid
        cross join lateral aclexplode(a.attacl) as acl
        where c.oid = 'workers'::regclass and acl.privilege_type = 'INSERT' and acl.grantee <> c.relowner
    )
    union
    select current_setting('chat.service_role', true)::name
    where current_setting('chat.service_role', true) <> ''
$$;

comment on function chat_service_roles() is
'The roles that run the service: those that may insert into workers, and the one that the setting chat.service_role '
'names in this session (`chat-api migrate` sets it to SERVICE_ROLE).';

create function chat_take_back(conversation uuid, message uuid) returns varchar
    language plpgsql
    as $$
declare
    place bigint;
    branch bigint;
    is_active boolean;
    gone_ids uuid[] := array[message];
    gone_positions bigint[];
begin
    select m.position, m.parent_position, m.is_active
    into place, branch, is_active
    from (
        select position, parent_position, true as is_active
        from messages
        where id = message and conversation_id = conversation
        union all
        select position, parent_position, false as is_active
        from inactive_messages
        where id = message and conversation_id = conversation
    ) as m;
    if place is null then
        return 'no_message';
    end if;

    gone_positions := array[place];
    if is_active then
        if exists (select from generations where conversation_id = conversation and status = 'running') then
            return 'running';
        end if;
        branch := coalesce(branch, (
            select m.position
            from messages as m
            where m.conversation_id = conversation and m.position < place
            order by m.position desc
            limit 1
        ), 0);
        with gone as (
            delete from messages as m
            where m.conversation_id = conversation and m.position >= place
            returning m.id, m.position
        )
        select array_agg(g.id), array_agg(g.position) into gone_ids, gone_positions from gone as g;
    end if;

    with recursive below (id, position) as (
        select m.id, m.position
        from inactive_messages as m
        where m.conversation_id = conversation and m.parent_position = any(gone_positions)
        union all
        select m.id, m.position
        from below
        inner join inactive_messages as m
            on m.conversation_id = conversation and m.parent_position = below.position
    ),
    gone as (
        delete from inactive_messages as m
        where m.conversation_id = conversation and m.id in (select message union all select b.id from below as b)
        returning m.id
    )
    select gone_ids || array_agg(g.id) into gone_ids from gone as g;

    delete from journal
    where generation_id in (
        select g.id
        from generations as g
        where
            g.conversation_id = conversation
            and (
                g.user_message_id = any(gone_ids)
                or g.message_id = any(gone_ids)
                or g.own_message_id = any(gone_ids)
            )
    );

    if is_active then
        perform chat_activate(conversation, newest.id)
        from (
            select m.id
            from inactive_messages as m
            where m.conversation_id = conversation and m.parent_position = branch
            order by m.position desc
            limit 1
        ) as newest;
    end if;
    return 'deleted';
end
$$;

comment on function chat_take_back(conversation uuid, message uuid) is
'Deletes a message and all that comes after it, in every version, with the events that late readers would get of it. '
'If it was on the active path, its newest other version takes its place. The caller has locked the conversation''s '
'row. Returns deleted, no_message or running, as chat_activate does.';

create function chat_use_again(whose uuid, run json) returns varchar
    language plpgsql security definer
    set search_path to '$user', 'public', 'pg_temp'
    as $$
declare
    used usage := json_populate_record(null::usage, run);
    is_new boolean;
    budget chat_budget;
begin
    insert into usage as u (
        id, user_id, conversation_id, kind, model_tag, server, status, error_code, started_at, ended_at, day,
        prompt_tokens, cached_tokens, reasoning_tokens, completion_tokens, is_estimated, milliseconds, cost, currency,
        price
    )
    values (
        used.id, whose, used.conversation_id, used.kind, used.model_tag, used.server, used.status, used.error_code,
        used.started_at, used.ended_at, used.day, used.prompt_tokens, used.cached_tokens, used.reasoning_tokens,
        used.completion_tokens, used.is_estimated, used.milliseconds, used.cost, used.currency, used.price
    )
    on conflict (id) do update
    set
        user_id = excluded.user_id,
        conversation_id = excluded.conversation_id
    where u.user_id is null
    returning u.xmax = '0' into is_new;

    if is_new is null then
        return case when exists (select from usage where id = used.id and user_id = whose) then 'there' else 'taken' end;
    end if;

    for budget in select * from chat_budgets(whose, used.model_tag) loop
        -- Everybody's budget has held what an erasure has left.
        if used.day >= chat_period(budget.period) and (is_new or budget.user_id is not null) then
            perform chat_spend(budget, chat_amount(used, budget));
        end if;
    end loop;
    return 'added';
end
$$;

comment on function chat_use_again(whose uuid, run json) is
'Stores a row of usage of an export, and adds it to the sums of the budgets whose current period it is of. Returns '
'added; there: the user has it; or taken: another one has it. A row that an erasure has left gets its user back.';

revoke all on function chat_use_again(whose uuid, run json) from public;

create function chat_uuid7_at(at timestamptz) returns uuid
    language sql stable parallel safe
    as $$
    select rpad(lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;

comment on function chat_uuid7_at(at timestamptz) is
'The smallest id of that millisecond: ids that chat_uuid7() made earlier are less, later ones aren''t.';

create view chat_report.budgets as
 select b.id as budget_id,
    b.scope::text as scope,
    coalesce(b.user_id, nullif(s.user_id, '00000000-0000-0000-0000-000000000000'::uuid)) as user_id,
    b.model_tag::text as model,
    b.period::text as period,
    b.unit::text as unit,
    b.currency::text as currency,
    b.amount,
    s.spent,
    greatest(b.amount - s.spent, 0::numeric) as amount_left
   from budgets b
     left join spending s on (b.scope::text <> 'everybody'::text) = (s.user_id <> '00000000-0000-0000-0000-000000000000'::uuid)
         and coalesce(b.user_id, s.user_id) = s.user_id and s.model_tag::text = coalesce(b.model_tag, ''::varchar)::text
         and b.period::text = s.period::text and b.unit::text = s.unit::text and s.currency::text = coalesce(b.currency,
         ''::varchar)::text and s.began = date_trunc(s.period::text, (now() at time zone 'utc'::text))::date
     left join budgets own on b.scope::text = 'each'::text and s.user_id = own.user_id and coalesce(b.model_tag,
         ''::varchar)::text = coalesce(own.model_tag, ''::varchar)::text and b.period::text = own.period::text
         and b.unit::text = own.unit::text and coalesce(b.currency, ''::varchar)::text = coalesce(own.currency,
         ''::varchar)::text
  where own.id is null;

comment on view chat_report.budgets is
'v1: Each budget, and what is used of it in its current period; one for each user has a row for every user who used '
'some. Reads all of budgets and spending, which have a row for each user at most.';
comment on column chat_report.budgets.budget_id is
'The budget, as in budgets.id.';
comment on column chat_report.budgets.scope is
'Whose it is: everybody, each or user.';
comment on column chat_report.budgets.user_id is
'Whose use spent is; null: everybody''s, or nobody has used any.';
comment on column chat_report.budgets.model is
'The model; null: all models together.';
comment on column chat_report.budgets.period is
'A calendar day, week or month, in UTC.';
comment on column chat_report.budgets.unit is
'Of which unit: tokens, cost or answers.';
comment on column chat_report.budgets.currency is
'The currency of a cost, by ISO 4217.';
comment on column chat_report.budgets.amount is
'How much; null: this user has no limit.';
comment on column chat_report.budgets.spent is
'What was used in the period; null: nothing was summed up in it yet.';
comment on column chat_report.budgets.amount_left is
'What is left, but for what running answers may use.';

create view chat_report.conversation_sizes as
 with said as (
         select m.conversation_id,
            true as is_active,
            pg_column_size(m.content) as text_bytes,
            pg_column_size(m.reasoning) as reasoning_bytes,
            pg_column_size(m.tool_calls) as call_bytes
           from messages m
        union all
         select m.conversation_id,
            false as is_active,
            pg_column_size(m.content) as text_bytes,
            pg_column_size(m.reasoning) as reasoning_bytes,
            pg_column_size(m.tool_calls) as call_bytes
           from inactive_messages m
        )
 select c.id as conversation_id,
    c.user_id as owner_id,
    c.updated_at,
    s.messages,
    s.inactive_messages,
    s.bytes
   from conversations c
     cross join lateral ( select count(*) filter (where e.is_active) as messages,
            count(*) filter (where not e.is_active) as inactive_messages,
            coalesce(sum(e.text_bytes + coalesce(e.reasoning_bytes, 0) + coalesce(e.call_bytes, 0)), 0::bigint) as bytes
           from said e
          where e.conversation_id = c.id) s;

comment on view chat_report.conversation_sizes is
'v1: How many messages each conversation has, and their bytes. With a condition on conversation_id or owner_id it '
'costs the pages of their messages (idx_messages_conversation_position). To find the largest of all, PostgreSQL reads '
'every message, because no index knows their sizes: for a quiet hour, or a standby.';
comment on column chat_report.conversation_sizes.conversation_id is
'The conversation, as in conversations.id.';
comment on column chat_report.conversation_sizes.owner_id is
'The user to whom the conversation belongs.';
comment on column chat_report.conversation_sizes.updated_at is
'When the last message was stored or the title changed.';
comment on column chat_report.conversation_sizes.messages is
'Messages on the active path, which is what its user sees.';
comment on column chat_report.conversation_sizes.inactive_messages is
'Messages off the active path: other versions, and what came after those.';
comment on column chat_report.conversation_sizes.bytes is
'Bytes of text, thinking and tool calls of all of its messages, as stored (compressed), without row headers.';

create view chat_report.failures as
 with days as (
         select moment.moment::date as day
           from generate_series(( select date_trunc('day'::text,
               (to_timestamp(((('x'::text || "left"(replace(g.id::text, '-'::text, ''::text),
               12)))::bit(48)::bigint::numeric / 1000.0)::double precision) at time zone 'utc'::text)) as date_trunc
                   from generations g
                  order by g.id
                 limit 1), (now() at time zone 'utc'::text), '1 day'::interval) moment(moment)
        )
 select d.day,
    f.model,
    f.error_code,
    f.answers
   from days d
     cross join lateral ( select coalesce(g.model_tag, c.model_tag, 'default'::varchar)::text as model,
            g.error_code::text as error_code,
            count(*) as answers
           from generations g
             join conversations c on g.conversation_id = c.id
          where g.id >= rpad(lpad(to_hex((extract(epoch from d.day) * 1000::numeric)::bigint), 12, '0'::text), 32,
              '0'::text)::uuid and g.id < rpad(lpad(to_hex((extract(epoch from d.day + 1) * 1000::numeric)::bigint), 12,
              '0'::text), 32, '0'::text)::uuid and g.error_code is not null
          group by (coalesce(g.model_tag, c.model_tag, 'default'::varchar)), g.error_code) f;

comment on view chat_report.failures is
'v1: How many answers failed or were interrupted, by day, model and error code; as far back as generations go '
'(GENERATION_DAYS). Name the days that you want: each costs the pages of its answers (generations_pkey), and without a '
'condition on day all of them are read.';
comment on column chat_report.failures.day is
'The day in UTC on which the answers began.';
comment on column chat_report.failures.model is
'The model that was asked; of answers of older releases, the one that is set for the conversation now.';
comment on column chat_report.failures.error_code is
'The code that readers received, such as inference_unavailable; worker_lost: the worker died.';
comment on column chat_report.failures.answers is
'The number of answers that ended with this code; a retry that succeeded takes its failure away.';

create view chat_report.limits as
 select name::text as limit_name,
    subject::text as subject,
    round(extract(epoch from period) / extract(epoch from every))::integer as allowed,
    period,
    greatest(floor(extract(epoch from period - greatest(full_at - now(),
        '00:00:00'::interval)) / extract(epoch from every)), 0::numeric)::integer as left_now,
    full_at
   from allowances a;

comment on view chat_report.limits is
'v1: What users and addresses have used lately of the rate limits (SENDS_PER_USER, SENDS_PER_ADDRESS); no row: '
'nothing. Reads all of the table allowances, which is small: a row for each subject that was active lately.';
comment on column chat_report.limits.limit_name is
'The setting in lower case, such as sends_per_user.';
comment on column chat_report.limits.subject is
'The limit subject: a user id, an IPv4 address, or a 64-bit IPv6 network.';
comment on column chat_report.limits.allowed is
'How many the limit allows in its period.';
comment on column chat_report.limits.period is
'The time in which the whole allowance is restored.';
comment on column chat_report.limits.left_now is
'How many of them are allowed at this moment; 0: the next one is refused.';
comment on column chat_report.limits.full_at is
'When the whole allowance is free again.';

create view chat_report.running_answers as
 with t as (
         select clock_timestamp() as now
        )
 select g.id as generation_id,
    g.conversation_id,
    c.user_id as owner_id,
    coalesce(g.model_tag, c.model_tag, 'default'::varchar)::text as model,
    g.kind::text as kind,
    g.started_at,
    extract(epoch from t.now - g.started_at)::integer as seconds_running,
    g.worker_id,
    extract(epoch from w.lease_until - t.now)::integer as lease_seconds_left,
    extract(epoch from t.now - (w.lease_until - w.lease))::integer as seconds_since_tick,
    coalesce(( select j.next_seq
           from journal j
          where j.generation_id = g.id
          order by j.next_seq desc
         limit 1), 0) as events_written,
    g.stop_requested_at,
    coalesce(w.lease_until < t.now or w.lease_until > (t.now + w.lease), true) as is_stuck
   from generations g
     join conversations c on g.conversation_id = c.id
     left join workers w on g.worker_id = w.id
     cross join t
  where g.status::text = 'running'::text;

comment on view chat_report.running_answers is
'v1: The answers that are being written, and those that are stuck because their worker is gone. Costs a few pages for '
'each (uq_generations_running), whatever the size of the tables.';
comment on column chat_report.running_answers.generation_id is
'The answer, as in generations.id.';
comment on column chat_report.running_answers.conversation_id is
'The conversation in which it is written.';
comment on column chat_report.running_answers.owner_id is
'The user to whom the conversation belongs.';
comment on column chat_report.running_answers.model is
'The model that was asked; of answers of older releases, the one that is set for the conversation now.';
comment on column chat_report.running_answers.kind is
'As in generations.kind: send, regenerate, results or continue.';
comment on column chat_report.running_answers.started_at is
'When the question was stored.';
comment on column chat_report.running_answers.seconds_running is
'Seconds since started_at.';
comment on column chat_report.running_answers.worker_id is
'The worker that holds the stream of the model.';
comment on column chat_report.running_answers.lease_seconds_left is
'Seconds until the lease of the worker runs out; negative: it has run out; null: the worker has left.';
comment on column chat_report.running_answers.seconds_since_tick is
'Seconds since the worker last renewed its lease, which it does together with writing to the journal, at most once a '
'second; null: the worker has left. The journal itself has no times.';
comment on column chat_report.running_answers.events_written is
'Events in the journal so far; if this stays the same, the model says nothing.';
comment on column chat_report.running_answers.stop_requested_at is
'When a stop was asked for; null: not yet.';
comment on column chat_report.running_answers.is_stuck is
'True if its worker has no lease that holds. As soon as another worker is steady, it ends such an answer; if it stays, '
'no worker is.';

create view chat_report.table_health as
 select t.relname::text as table_name,
    p.relname::text as partition_of,
    s.n_live_tup as live_rows,
    s.n_dead_tup as dead_rows,
    pg_table_size(t.oid::regclass) as table_bytes,
    pg_indexes_size(t.oid::regclass) as index_bytes,
    s.last_vacuum,
    s.last_autovacuum,
    s.last_autoanalyze,
    s.autovacuum_count as autovacuums
   from pg_class t
     left join pg_inherits i on t.oid = i.inhrelid
     left join pg_class p on i.inhparent = p.oid
     join pg_stat_all_tables s on t.oid = s.relid
  where t.relkind = 'r'::"char" and t.relnamespace = (( select r.relnamespace
           from pg_class r
          where r.oid = 'public.service_rights'::regclass::oid)) and ((coalesce(p.relname,
              t.relname) in ( select r.object
           from service_rights r)) or t.oid = 'public.service_rights'::regclass::oid) and t.relname !~~ '%yoyo%'::text;

comment on view chat_report.table_health is
'v1: Rows, sizes and vacuums of each table of the service, and of each partition. Reads counters and sizes, no rows: '
'milliseconds, whatever the size of the tables. The counters of a standby are its own, and mostly 0.';
comment on column chat_report.table_health.table_name is
'The table, or the partition.';
comment on column chat_report.table_health.partition_of is
'The partitioned table to which it belongs; null: it is no partition.';
comment on column chat_report.table_health.live_rows is
'Rows, as estimated by the statistics.';
comment on column chat_report.table_health.dead_rows is
'Dead row versions that vacuum has yet to remove, as estimated by the statistics.';
comment on column chat_report.table_health.table_bytes is
'Bytes on disk without indexes, with long values (TOAST).';
comment on column chat_report.table_health.index_bytes is
'Bytes on disk of all of its indexes.';
comment on column chat_report.table_health.last_vacuum is
'When somebody last vacuumed it by hand; null: never since the statistics began.';
comment on column chat_report.table_health.last_autovacuum is
'When autovacuum last ended a visit; null: never since the statistics began.';
comment on column chat_report.table_health.last_autoanalyze is
'When autovacuum last analyzed it; null: never since the statistics began.';
comment on column chat_report.table_health.autovacuums is
'Visits of autovacuum since the statistics began.';

create view chat_report.usage as
 select day,
    user_id,
    model_tag::text as model,
    server::text as server,
    count(*) as runs,
    count(*) filter (where kind::text <> 'title'::text and (status::text <> 'failed'::text
        or completion_tokens > 0)) as answers,
    count(*) filter (where status::text = any (array['failed'::varchar, 'interrupted'::varchar]::text[])) as failures,
    sum(prompt_tokens) as prompt_tokens,
    sum(cached_tokens) as cached_tokens,
    sum(completion_tokens) as completion_tokens,
    sum(reasoning_tokens) as reasoning_tokens,
    count(*) filter (where is_estimated) as estimated_runs,
    sum(milliseconds::bigint) as milliseconds,
    sum(cost) as cost,
    currency::text as currency
   from usage u
  group by day, user_id, model_tag, server, currency;

comment on view chat_report.usage is
'v1: What was used, by day, user, model and server; it outlives conversations. With a condition on day, or on day and '
'user_id, it costs the pages of those rows (idx_usage_day, idx_usage_user_day); without one, all rows are read.';
comment on column chat_report.usage.day is
'The day in UTC on which the runs ended.';
comment on column chat_report.usage.user_id is
'The user who asked; null: erased since.';
comment on column chat_report.usage.model is
'The model, by its tag in MODELS_FILE.';
comment on column chat_report.usage.server is
'The model server asked last; null: none, or its worker died.';
comment on column chat_report.usage.runs is
'Runs of the model, with titles and failures.';
comment on column chat_report.usage.answers is
'Answers: no titles, and none that failed without a word.';
comment on column chat_report.usage.failures is
'Runs that failed or were interrupted.';
comment on column chat_report.usage.prompt_tokens is
'Tokens that the model read, cached_tokens included.';
comment on column chat_report.usage.cached_tokens is
'Those that the model server had computed before.';
comment on column chat_report.usage.completion_tokens is
'Tokens that the model generated, thinking included.';
comment on column chat_report.usage.reasoning_tokens is
'Those that are thinking, where the model server says so.';
comment on column chat_report.usage.estimated_runs is
'Runs whose tokens the model server didn''t count.';
comment on column chat_report.usage.milliseconds is
'Milliseconds from the calls of the model server to the ends.';
comment on column chat_report.usage.cost is
'What they cost by the price at that time; null: there was none.';
comment on column chat_report.usage.currency is
'The currency of cost, by ISO 4217.';

create view live_workers as
 with t as (
         select clock_timestamp() as now
        )
 select w.id,
    w.started_at,
    w.lease_until,
    w.lease,
    w.steady_since,
    w.lease_until > (t.now + w.lease / 2::double precision) and w.steady_since <= (t.now - w.lease) as is_steady
   from workers w
     cross join t
  where w.lease_until >= t.now and w.lease_until <= (t.now + w.lease);

comment on view live_workers is
'The workers whose lease holds. is_steady: the database has served this one for a whole lease without a gap, so that a '
'worker that isn''t here is dead.';
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

create trigger note_usage after update of status, finished_at on generations
    for each row when (new.status::text <> 'running'::text)
    execute function chat_note_usage();

comment on trigger note_usage on generations is
'An answer has ended.';

create trigger note_usage_of_deleted after delete on generations
    for each row when (old.status::text = 'running'::text)
    execute function chat_note_usage();

comment on trigger note_usage_of_deleted on generations is
'An answer was deleted with its conversation while it was being written. What its worker knows of it comes later, by '
'usage.correct.';
