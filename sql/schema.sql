-- The schema that the migrations make, to be read. Nothing runs this file: migrations make databases.
-- `make schema` writes it with pg_dump from a freshly migrated database, and a test compares it with one.
--
-- First come the functions that tables use, then the tables in the order in which the migrations create them,
-- then the other functions. Left out are owners, and the tables in which yoyo, the migration library, records
-- what was applied. Where the auth service's table users is in the same database, conversations also has the
-- foreign key conversations_user_id_fkey. The rows of service_rights are what chat_grant(role) grants.

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
    constraint ck_conversations_version check (version >= 0),
    constraint conversations_pkey primary key (id)
)
with (autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_threshold='1000');

comment on table conversations is
'One chat of one user. Its messages and generations go with it.';
comment on column conversations.user_id is
'The owner''s id in the auth service. A foreign key only where that service keeps users in this database. Null: it was '
'deleted, and its rows are removed in pieces (retention.clear).';
comment on column conversations.title is
'Null reads as the default: an earlier service may write nulls. The first message replaces a placeholder title.';
comment on column conversations.model_tag is
'The model that the user asked for, by its name in the inference service. Null reads as the default.';
comment on column conversations.updated_at is
'When the last message was stored or the title changed: the order of the lists.';
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
comment on column messages.content is
'The text as sent, or as far as it was generated when the generation ended.';
comment on column messages.token_count is
'Tokens that the model generated for this answer. Null for a user''s message, and reads as 0: an earlier service wrote '
'nulls.';
comment on column messages.model_tag is
'The model that answered. Null reads as the empty string.';
comment on column messages.inference_time_ms is
'Milliseconds from the call to the inference service to its last token. Null reads as 0.';
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
with (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');
alter table only generations alter column status set statistics 1000;

comment on table generations is
'One run of the model for one answer: first running, then finally completed, stopped, failed or interrupted.';
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
'The Idempotency-Key of the request: a retry in the same conversation finds this row instead of starting again.';
comment on column generations.worker_id is
'The worker that holds the model''s stream. No foreign key: a dead worker''s row is deleted, and this history stays.';
comment on column generations.stop_requested_at is
'Set by any worker; the owner sees it at its next tick and closes the stream.';
comment on column generations.finish_reason is
'As in messages.finish_reason; null while running.';
comment on column generations.error_code is
'The stable code that readers received when it failed.';
comment on column generations.inference_time_ms is
'Milliseconds from the call to the inference service to the end.';
comment on column generations.last_seq is
'Number of the last event that readers received; 0 before the first.';
comment on column generations.holder_id is
'The user, where the number of answers at once was limited (MAX_ANSWERS_PER_USER) when this one started; else null.';
comment on column generations."position" is
'Order of start within the conversation. Rows from before this column have negative numbers.';
comment on column generations.usage is
'As in messages.usage; also where no message was stored.';
comment on column generations.options is
'What the question was asked with, for a regeneration to repeat, and what was set for the conversation at that time '
'("conversation"); null: nothing but the service''s settings.';
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

create index idx_generations_conversation_position on generations using btree (conversation_id, "position" desc);

create index idx_generations_holder on generations using btree (holder_id)
    where status::text = 'running'::text and holder_id is not null;

create index idx_generations_worker on generations using btree (worker_id) where status::text = 'running'::text;

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
with (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='10000', autovacuum_vacuum_cost_delay='0',
    autovacuum_vacuum_insert_threshold='-1', autovacuum_analyze_scale_factor='0.5');

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
comment on column service_rights.columns is
'The columns that the right covers; empty: all columns, later ones too.';

insert into service_rights (object, privilege, columns) values
('_yoyo_migration', 'select', '{}'),
('allowances', 'delete', '{}'),
('allowances', 'select', '{}'),
('allowances', 'update', '{full_at}'),
('chat_activate(uuid, uuid)', 'execute', '{}'),
('chat_admit(uuid,uuid,varchar,integer,json)', 'execute', '{}'),
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
('chat_uuid7()', 'execute', '{}'),
('chat_uuid7_at(timestamptz)', 'execute', '{}'),
('conversations', 'delete', '{}'),
('conversations', 'insert', '{user_id,title,model_tag,instructions,options}'),
('conversations', 'select', '{}'),
('conversations', 'update', '{title,is_favorited,updated_at,model_tag,instructions,options,version}'),
('generations', 'delete', '{}'),
('generations', 'insert',
    '{id,conversation_id,kind,user_message_id,idempotency_key,worker_id,holder_id,message_id,status,finish_reason,error_code,token_count,inference_time_ms,last_seq,finished_at,position,usage,options,call_message_id,parent_position,tries}'),
('generations', 'select', '{}'),
('generations', 'update',
    '{id,position,message_id,status,worker_id,holder_id,options,stop_requested_at,finish_reason,error_code,token_count,inference_time_ms,last_seq,started_at,finished_at,usage,left_at,read_at,own_message_id,tries}'),
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
('queued_messages', 'insert', '{conversation_id,content,request,idempotency_key}'),
('queued_messages', 'select', '{}'),
('queued_messages', 'update', '{position}'),
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
comment on column queued_messages.request is
'The rest of the request: {"temperature","tools",…}, each optional.';
comment on column queued_messages.idempotency_key is
'The Idempotency-Key of the request; generations.idempotency_key once it is sent.';

create index idx_queued_messages_conversation on queued_messages using btree (conversation_id, "position");

create unique index uq_queued_messages_idempotency_key on queued_messages using btree (conversation_id,
    idempotency_key)
    where idempotency_key is not null;

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
                select count(*) from generations where holder_id = whose and status = 'running'
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

create function chat_for_user(user_id uuid, conversation_id uuid) returns boolean
    language sql
    as $$
    select set_config('chat.user_id', coalesce(user_id::text, ''), true) is not null
        and set_config('chat.conversation_id', coalesce(conversation_id::text, ''), true) is not null
$$;

comment on function chat_for_user(user_id uuid, conversation_id uuid) is
'Says for whom this statement works: a user, and the conversation that it is about, or null. Returns true. It belongs, '
'as (select chat_for_user(…)), into the WHERE of the outermost select, which PostgreSQL evaluates first.';

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

create function chat_uuid7_at(at timestamptz) returns uuid
    language sql stable parallel safe
    as $$
    select rpad(lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;

comment on function chat_uuid7_at(at timestamptz) is
'The smallest id of that millisecond: ids that chat_uuid7() made earlier are less, later ones aren''t.';

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
