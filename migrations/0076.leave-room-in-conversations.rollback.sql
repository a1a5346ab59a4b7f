-- Loses nothing: pages are filled again.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table if exists conversations reset (fillfactor);

do $$
begin
    if to_regclass('conversations') is not null then
        comment on column conversations.updated_at is
        'When the last message was stored or the title changed: the order of the lists.';
    end if;
end
$$;
