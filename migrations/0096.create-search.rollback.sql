-- Loses nothing that was said: what search reads is made again by migrating.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

delete from service_rights
where
    object in (
        'search_entries',
        'chat_search_query(text)',
        'chat_find_said(uuid, uuid, bigint, text[], text[])',
        'chat_snippet(text, text[])'
    );

drop function if exists chat_snippet(text, text[]);
drop function if exists chat_find_said(uuid, uuid, bigint, text[], text[]);
drop function if exists chat_search_query(text);
drop function if exists chat_title_time(timestamptz);
drop function if exists chat_signature(text);
drop function if exists chat_is_single(text);
drop function if exists chat_word_code(text);
drop function if exists chat_words(text);

alter table if exists conversations
drop column if exists former_user_id;

drop table if exists search_entries;
