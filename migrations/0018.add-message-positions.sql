-- An order that no clock changes: each message, and in 0019 each generation, gets a number when it is stored, and those
-- of a conversation are read by it. created_at says when something was said, no longer in which order.
-- depends: 0017.index-holders
-- locks: messages, access exclusive, a moment
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Every second number stays free: an answer that is brought in late goes between its question and the next one.
create sequence if not exists chat_position as bigint increment by 2;

comment on sequence chat_position is
'Numbers messages and generations in the order in which they are stored. Logical replication doesn''t copy its state: '
'after a switch-over by it, set it to a value above max(position) of both tables.';

-- The default is set apart from the column, so that no row is rewritten. Existing rows are null until 0020 numbers
-- them. Whatever inserts without a position, such as the previous release, gets the next number.
alter table messages add column if not exists position bigint;
alter table messages alter column position set default nextval('chat_position');
-- The table that follows messages while it is being partitioned (deploy/postgresql/partition-messages) gets it too.
alter table if exists messages_partitioned add column if not exists position bigint;
alter table if exists messages_partitioned alter column position set default nextval('chat_position');
alter table if exists messages_unpartitioned add column if not exists position bigint;
alter table if exists messages_unpartitioned alter column position set default nextval('chat_position');

comment on column messages.position is
'Place in the conversation: read oldest first by it. Rows from before this column have negative numbers.';
comment on table messages is
'What was said. Read oldest first by position. Messages are added and deleted; their text never changes.';

-- An update right on a sequence allows nextval(), which the defaults call.
insert into service_rights (object, privilege) values
('chat_position', 'update')
on conflict (object, privilege) do nothing;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
