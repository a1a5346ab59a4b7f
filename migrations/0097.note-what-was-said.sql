-- Keeps search_entries as messages and titles are: in the very statement that stores, moves, changes or deletes one, whoever sends it.
-- depends: 0096.create-search
-- locks: messages, share row exclusive, a moment
-- locks: inactive_messages, share row exclusive, a moment
-- locks: conversations, share row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- As in 0047.
do $$
begin
    perform set_config(
        'search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), 'pg_temp'), true
    );
end
$$;

-- Each keeps its plans while the tables grow from nothing, hence no sequential scan. With the owner's rights, so that another application that writes to an adopted database needs none.
create or replace function chat_note_said() returns trigger
language plpgsql
security definer
set search_path from current
set enable_seqscan = off
as $$
begin
    insert into search_entries (user_id, said_at, conversation_id, position, signature)
    select c.user_id, new.created_at, new.conversation_id, new.position, s.signature
    from conversations as c
    cross join lateral (
        -- A message that moves to another path has its row.
        select chat_signature(new.content) as signature
        where
            not exists (
                select from search_entries as e
                where
                    e.user_id = c.user_id
                    and e.said_at = new.created_at
                    and e.conversation_id = new.conversation_id
                    and e.position = new.position
            )
    ) as s
    where c.id = new.conversation_id and c.user_id is not null and s.signature is not null
    on conflict do nothing;
    return null;
end
$$;

comment on function chat_note_said() is
'Notes a message in search_entries when it is stored.';

create or replace function chat_forget_said() returns trigger
language plpgsql
security definer
set search_path from current
set enable_seqscan = off
as $$
begin
    delete from search_entries as e
    using conversations as c
    where
        c.id = old.conversation_id
        and (c.user_id is null) = (tg_when = 'BEFORE')
        and e.user_id = coalesce(c.user_id, c.former_user_id)
        and e.said_at = old.created_at
        and e.conversation_id = old.conversation_id
        and e.position = old.position
        -- Not if it only moved to another path.
        and (
            tg_op = 'UPDATE'
            or c.user_id is null
            or not exists (
                select from messages as m
                where m.conversation_id = old.conversation_id and m.position = old.position
            )
            and not exists (
                select from inactive_messages as m
                where m.conversation_id = old.conversation_id and m.position = old.position
            )
        );
    return old;
end
$$;

comment on function chat_forget_said() is
'Deletes a message''s row of search_entries when it is deleted or changed. Before that, where the statement may delete '
'its conversation too (retention.clear), and otherwise after it, when it is known whether it only moved. '
'chat_forget_conversation() does it for a whole one.';

create or replace function chat_note_title() returns trigger
language plpgsql
security definer
set search_path from current
set enable_seqscan = off
as $$
begin
    if tg_op = 'UPDATE' then
        delete from search_entries
        where
            user_id = old.user_id
            and said_at = chat_title_time(old.created_at)
            and conversation_id = old.id
            and position = 0;
    end if;
    insert into search_entries (user_id, said_at, conversation_id, position, signature)
    select new.user_id, chat_title_time(new.created_at), new.id, 0, s.signature
    from (select chat_signature(nullif(new.title, 'New conversation')) as signature) as s
    where new.user_id is not null and s.signature is not null
    on conflict do nothing;
    return null;
end
$$;

comment on function chat_note_title() is
'Notes a conversation''s title in search_entries, unless it is the placeholder.';

create or replace function chat_forget_conversation() returns trigger
language plpgsql
security definer
set search_path from current
as $$
begin
    delete from search_entries as e
    using (
        select created_at, position from messages where conversation_id = old.id
        union all
        select created_at, position from inactive_messages where conversation_id = old.id
        union all
        select chat_title_time(old.created_at), 0
    ) as m
    where
        e.user_id = coalesce(old.user_id, old.former_user_id)
        and e.said_at = m.created_at
        and e.conversation_id = old.id
        and e.position = m.position;
    return old;
end
$$;

comment on function chat_forget_conversation() is
'Deletes the rows of search_entries of a conversation, before it is deleted.';

create or replace function chat_search_is_on() returns boolean
language sql stable
as $$
    select exists (
        select from pg_trigger
        where tgrelid = to_regclass('conversations') and tgname = 'note_title' and tgenabled <> 'D'
    )
$$;

comment on function chat_search_is_on() is
'Whether new messages and titles are noted in search_entries.';

create or replace function chat_change_owner() returns trigger
language plpgsql
security definer
set search_path from current
as $$
begin
    if new.user_id is null then
        new.former_user_id := coalesce(old.user_id, old.former_user_id);
        return new;
    end if;
    new.former_user_id := null;
    delete from search_entries as e
    using (
        select created_at, position from messages where conversation_id = old.id
        union all
        select created_at, position from inactive_messages where conversation_id = old.id
    ) as m
    where
        e.user_id = coalesce(old.user_id, old.former_user_id)
        and e.said_at = m.created_at
        and e.conversation_id = old.id
        and e.position = m.position;
    insert into search_entries (user_id, said_at, conversation_id, position, signature)
    select new.user_id, m.created_at, old.id, m.position, s.signature
    from (
        select created_at, position, role, content from messages where conversation_id = old.id
        union all
        select created_at, position, role, content from inactive_messages where conversation_id = old.id
    ) as m
    cross join lateral (select chat_signature(m.content) as signature) as s
    where m.role in ('user', 'assistant') and s.signature is not null and chat_search_is_on()
    on conflict do nothing;
    return new;
end
$$;

comment on function chat_change_owner() is
'Gives the rows of search_entries to a conversation''s new owner. Without one, they stay until its messages are '
'deleted, and former_user_id says whose they are.';

drop trigger if exists note_said on messages;
create trigger note_said
after insert on messages
for each row
when (new.role in ('user', 'assistant'))
execute function chat_note_said();

drop trigger if exists forget_changed on messages;
create trigger forget_changed
after update of content, role, created_at, position on messages
for each row
when (
    (old.content, old.role, old.created_at, old.position)
    is distinct from (new.content, new.role, new.created_at, new.position)
)
execute function chat_forget_said();

-- Triggers of one event fire in the order of their names.
drop trigger if exists note_changed on messages;
create trigger note_changed
after update of content, role, created_at, position on messages
for each row
when (
    (old.content, old.role, old.created_at, old.position)
    is distinct from (new.content, new.role, new.created_at, new.position)
    and new.role in ('user', 'assistant')
)
execute function chat_note_said();

drop trigger if exists forget_cleared on messages;
create trigger forget_cleared
before delete on messages
for each row
when (old.role in ('user', 'assistant'))
execute function chat_forget_said();

drop trigger if exists forget_said on messages;
create trigger forget_said
after delete on messages
for each row
when (old.role in ('user', 'assistant'))
execute function chat_forget_said();

drop trigger if exists note_said on inactive_messages;
create trigger note_said
after insert on inactive_messages
for each row
when (new.role in ('user', 'assistant'))
execute function chat_note_said();

drop trigger if exists forget_changed on inactive_messages;
create trigger forget_changed
after update of content, role, created_at, position on inactive_messages
for each row
when (
    (old.content, old.role, old.created_at, old.position)
    is distinct from (new.content, new.role, new.created_at, new.position)
)
execute function chat_forget_said();

drop trigger if exists note_changed on inactive_messages;
create trigger note_changed
after update of content, role, created_at, position on inactive_messages
for each row
when (
    (old.content, old.role, old.created_at, old.position)
    is distinct from (new.content, new.role, new.created_at, new.position)
    and new.role in ('user', 'assistant')
)
execute function chat_note_said();

drop trigger if exists forget_cleared on inactive_messages;
create trigger forget_cleared
before delete on inactive_messages
for each row
when (old.role in ('user', 'assistant'))
execute function chat_forget_said();

drop trigger if exists forget_said on inactive_messages;
create trigger forget_said
after delete on inactive_messages
for each row
when (old.role in ('user', 'assistant'))
execute function chat_forget_said();

drop trigger if exists note_title on conversations;
create trigger note_title
after insert on conversations
for each row
when (new.title <> 'New conversation')
execute function chat_note_title();

drop trigger if exists note_new_title on conversations;
create trigger note_new_title
after update of title, user_id, created_at on conversations
for each row
when ((old.title, old.user_id, old.created_at) is distinct from (new.title, new.user_id, new.created_at))
execute function chat_note_title();

drop trigger if exists change_owner on conversations;
create trigger change_owner
before update of user_id on conversations
for each row
when (old.user_id is distinct from new.user_id)
execute function chat_change_owner();

drop trigger if exists forget_conversation on conversations;
create trigger forget_conversation
before delete on conversations
for each row
execute function chat_forget_conversation();

create or replace procedure chat_fill_search()
language plpgsql
as $$
declare
    source text;
    behind uuid;
    after bigint;
    batch uuid[];
    last_id uuid;
    last_position bigint;
begin
    if not chat_search_is_on() then
        return;
    end if;
    -- Fails where row-level security would hide rows from it.
    set local row_security = off;
    foreach source in array array['messages', 'inactive_messages'] loop
        behind := '00000000-0000-0000-0000-000000000000';
        after := -9223372036854775808;
        loop
            execute format(
                'select array_agg(distinct conversation_id), (array_agg(conversation_id order by n desc))[1], '
                '(array_agg(position order by n desc))[1] from (select conversation_id, position, '
                'row_number() over (order by conversation_id, position) as n from %I '
                'where (conversation_id, position) > ($1, $2) order by conversation_id, position limit 500) as m', source
            ) into batch, last_id, last_position using behind, after;
            exit when batch is null;
            -- As everything that writes to several rows of a conversation does: nothing is deleted meanwhile.
            perform from conversations where id = any(batch) order by id for no key update;
            execute format(
                'insert into search_entries (user_id, said_at, conversation_id, position, signature) '
                'select c.user_id, m.created_at, m.conversation_id, m.position, chat_signature(m.content) '
                'from %I as m join conversations as c on c.id = m.conversation_id '
                'where (m.conversation_id, m.position) > ($1, $2) and (m.conversation_id, m.position) <= ($3, $4) '
                'and m.role in (''user'', ''assistant'') and c.user_id is not null and chat_signature(m.content) is not null '
                'and not exists (select from search_entries as e where e.user_id = c.user_id and e.said_at = m.created_at '
                'and e.conversation_id = m.conversation_id and e.position = m.position) on conflict do nothing', source
            ) using behind, after, last_id, last_position;
            behind := last_id;
            after := last_position;
            commit;
            set local row_security = off;
        end loop;
    end loop;

    behind := '00000000-0000-0000-0000-000000000000';
    loop
        select array_agg(id) into batch
        from (
            select id from conversations where id > behind order by id limit 500 for no key update
        ) as c;
        exit when batch is null;
        insert into search_entries (user_id, said_at, conversation_id, position, signature)
        select user_id, chat_title_time(created_at), id, 0, chat_signature(title)
        from conversations
        where
            id = any(batch) and user_id is not null and title <> 'New conversation' and chat_signature(title) is not null
        on conflict do nothing;
        behind := batch[cardinality(batch)];
        commit;
        set local row_security = off;
    end loop;
end
$$;

comment on procedure chat_fill_search is
'Adds what search_entries lacks: call it outside of a transaction, as the owner. It may be interrupted, and called '
'again.';

create or replace function chat_use_search(is_on boolean) returns boolean
language plpgsql
as $$
begin
    if is_on = chat_search_is_on() then
        return false;
    end if;
    if is_on then
        alter table messages enable trigger note_said, enable trigger note_changed;
        alter table inactive_messages enable trigger note_said, enable trigger note_changed;
        alter table conversations enable trigger note_title, enable trigger note_new_title;
    else
        alter table messages disable trigger note_said, disable trigger note_changed;
        alter table inactive_messages disable trigger note_said, disable trigger note_changed;
        alter table conversations disable trigger note_title, disable trigger note_new_title;
        truncate search_entries;
    end if;
    return true;
end
$$;

comment on function chat_use_search(boolean) is
'Has messages and titles noted in search_entries from now on, or not any more and empties it. False: nothing to do. '
'Run by chat-api migrate, after SEARCH was changed; after switching it on, call chat_fill_search().';

do $$
begin
    perform chat_use_search(current_setting('chat.search', true) is distinct from 'off');
end
$$;
