-- Notes the messages and titles from before 0097 in search_entries. Online: five hundred messages in a transaction, for which
-- whatever writes to their conversations waits. Can be interrupted and run again. It takes 1 to 2 ms and writes about 600 bytes for
-- each message. With SEARCH=off it has nothing to do.
-- depends: 0097.note-what-was-said
-- locks: search_entries, row exclusive, a moment
-- transactional: false
-- squawk-disable-assume-in-transaction

set lock_timeout = '30s';
set statement_timeout = '24h';

call chat_fill_search();
