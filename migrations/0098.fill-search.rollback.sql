-- Loses nothing: the rows stay until 0096 is undone.

set lock_timeout = '30s';
set statement_timeout = '24h';
