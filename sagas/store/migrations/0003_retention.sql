-- Whatever has ended, in the order in which it did: all that a purge scans. No older index knows when that was, and
-- without one every purge would read the whole table. It costs a saga one entry (some 70 bytes of WAL), at its end, when
-- its row gets new entries in every index anyway. With the status in its condition, first completions would cost one too.
CREATE INDEX saga_instance_ended ON {schema}.saga_instance (finished_at) WHERE finished_at IS NOT NULL;
