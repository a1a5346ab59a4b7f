-- Buffers that this transaction asked for, of tables and indexes, including those that foreign keys and triggers look into.
-- Not those of TOAST, whose names differ between databases.
select
    relname,
    pg_stat_get_xact_blocks_fetched(oid) as blocks
from pg_class
where
    relkind in ('r', 'i')
    and relnamespace <> cast('pg_catalog' as regnamespace)
    and pg_table_is_visible(oid)
