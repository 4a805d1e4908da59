-- Pages of dead letters, and the newest event of each version.
DROP INDEX {schema}.saga_step_dead;
CREATE INDEX saga_step_dead ON {schema}.saga_step (dead_at, instance_id, position, branch, round)
    WHERE dead_at IS NOT NULL;
CREATE INDEX saga_step_dead_of ON {schema}.saga_step (name, dead_at, instance_id, position, branch, round)
    WHERE dead_at IS NOT NULL;
CREATE INDEX saga_inbox_undelivered ON {schema}.saga_inbox (consumed_at, instance_id, event_id)
    WHERE letter IS NOT NULL AND letter <> 'muted' AND acknowledged_at IS NULL;
CREATE INDEX saga_inbox_type ON {schema}.saga_inbox (name, version, id) WHERE event_id IS NOT NULL;
