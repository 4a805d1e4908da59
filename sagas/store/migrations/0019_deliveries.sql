-- A completion of a delivery reads the open deliveries of single handlers, and whether its run has a dead letter.
DROP INDEX {schema}.saga_step_open;
CREATE INDEX saga_step_open ON {schema}.saga_step (instance_id, branch, position)
    WHERE event_id IS NOT NULL AND (finished_at IS NULL OR dead_at IS NOT NULL);
CREATE INDEX saga_step_letter ON {schema}.saga_step (instance_id) WHERE dead_at IS NOT NULL;
