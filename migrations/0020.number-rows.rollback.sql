-- Loses nothing: the numbers stay until 0018 and 0019 are undone. Numbering again skips the rows that have one.

set lock_timeout = '30s';
set statement_timeout = '24h';
