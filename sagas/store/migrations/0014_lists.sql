-- Lists of instances do not read what has ended. Rewrites the table of instances: purge first where that is large.

-- What changes stands behind what does not. An update writes to the log what lies between the first and the last byte
-- that it changes: with the status in front that was the plan and the data, twice a saga.
ALTER TABLE {schema}.saga_instance ADD COLUMN moved text GENERATED ALWAYS AS (status) STORED;
ALTER TABLE {schema}.saga_instance ALTER COLUMN moved DROP EXPRESSION;
ALTER TABLE {schema}.saga_instance DROP COLUMN status;
ALTER TABLE {schema}.saga_instance RENAME COLUMN moved TO status;
ALTER TABLE {schema}.saga_instance
    ALTER COLUMN status SET NOT NULL,
    ALTER COLUMN status SET DEFAULT 'pending',
    ADD CONSTRAINT saga_instance_status CHECK
        (status IN ('pending', 'running', 'completed', 'compensating', 'compensated', 'failed')),
    ADD CONSTRAINT saga_instance_finished_exactly_when_final CHECK
        ((finished_at IS NOT NULL) = (status IN ('completed', 'compensated', 'failed'))),
    ADD CONSTRAINT saga_instance_final_is_never_due CHECK
        (NOT (status IN ('completed', 'compensated', 'failed') AND due_at IS NOT NULL));

-- The status of the few that have turned back or failed. `status` itself is in no index, since the first completion
-- changes it, and would then write to all of them.
ALTER TABLE {schema}.saga_instance ADD COLUMN setback text GENERATED ALWAYS AS
    (CASE WHEN status IN ('compensating', 'compensated', 'failed') THEN status END) STORED;
CREATE INDEX saga_instance_setback ON {schema}.saga_instance (setback, saga, created_at, id) WHERE setback IS NOT NULL;
-- The order of lists; ids of child sagas are not made of the time.
CREATE INDEX saga_instance_listed ON {schema}.saga_instance (saga, created_at, id);
-- By its beginning a key is found in bytewise order alone.
DROP INDEX {schema}.saga_instance_key;
CREATE UNIQUE INDEX saga_instance_key ON {schema}.saga_instance (saga, key text_pattern_ops)
    WHERE current AND key IS NOT NULL;
CREATE INDEX saga_instance_former ON {schema}.saga_instance (saga, key text_pattern_ops)
    WHERE NOT current AND key IS NOT NULL;
-- The words of errors: what goes forward has none.
CREATE INDEX saga_instance_error ON {schema}.saga_instance USING gin (to_tsvector('simple', regexp_replace(
    left((error ->> 'type') || ' ' || (error ->> 'message'), 4000), '\W+', ' ', 'g'))) WHERE error IS NOT NULL;
-- What waits for a time, a signal or another saga; the others in flight are in saga_step_live.
CREATE INDEX saga_step_waiting ON {schema}.saga_step (name, instance_id) WHERE finished_at IS NULL AND task IS NULL;
