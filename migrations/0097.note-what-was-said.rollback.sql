-- Loses nothing: search no longer finds what is said from now on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

do $$
begin
    if to_regclass('messages') is not null then
        drop trigger if exists note_said on messages;
        drop trigger if exists note_changed on messages;
        drop trigger if exists forget_changed on messages;
        drop trigger if exists forget_cleared on messages;
        drop trigger if exists forget_said on messages;
    end if;
    if to_regclass('inactive_messages') is not null then
        drop trigger if exists note_said on inactive_messages;
        drop trigger if exists note_changed on inactive_messages;
        drop trigger if exists forget_changed on inactive_messages;
        drop trigger if exists forget_cleared on inactive_messages;
        drop trigger if exists forget_said on inactive_messages;
    end if;
    if to_regclass('conversations') is not null then
        drop trigger if exists note_title on conversations;
        drop trigger if exists note_new_title on conversations;
        drop trigger if exists change_owner on conversations;
        drop trigger if exists forget_conversation on conversations;
    end if;
end
$$;

drop function if exists chat_use_search(boolean);
drop procedure if exists chat_fill_search();
drop function if exists chat_change_owner();
drop function if exists chat_search_is_on();
drop function if exists chat_forget_conversation();
drop function if exists chat_note_title();
drop function if exists chat_forget_said();
drop function if exists chat_note_said();
