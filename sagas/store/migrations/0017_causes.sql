-- What began an instance: one correlation id for all that belongs together, and what caused it. NULL: a caller did.
ALTER TABLE {schema}.saga_instance
    ADD COLUMN correlation_id uuid,
    ADD COLUMN caused_by text;
CREATE INDEX saga_instance_correlation ON {schema}.saga_instance (correlation_id) WHERE correlation_id IS NOT NULL;

-- What published an event, if it was not a handler of the same run.
ALTER TABLE {schema}.saga_inbox ADD COLUMN caused_by text;
