-- Since when the sweep cannot read the rows of an instance that is in flight: it waits for a person, and is listed so.
ALTER TABLE {schema}.saga_instance ADD COLUMN unreadable_at timestamptz;
CREATE INDEX saga_instance_unreadable ON {schema}.saga_instance (unreadable_at) WHERE unreadable_at IS NOT NULL;
