-- messages.position becomes not null, as in 0005: the validated check spares the scan.
-- depends: 0023.validate-positions
-- locks: messages, access exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- squawk-ignore adding-not-nullable-field
alter table messages alter column position set not null;

alter table messages drop constraint if exists ck_messages_position;
