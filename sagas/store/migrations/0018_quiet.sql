-- Runs that stand still, and events whose run does not come.
ALTER TABLE {schema}.saga_instance
    ADD COLUMN came jsonb,
    ADD COLUMN quiet_from timestamptz,
    ADD COLUMN quiet_at timestamptz;
CREATE INDEX saga_instance_quiet ON {schema}.saga_instance (quiet_from) WHERE quiet_from IS NOT NULL;

ALTER TABLE {schema}.saga_inbox
    ADD COLUMN choreography text,
    ADD COLUMN run_key text,
    ADD COLUMN early_until timestamptz;
CREATE INDEX saga_inbox_early ON {schema}.saga_inbox (early_until)
    WHERE kind = 'event' AND seen_at IS NOT NULL AND consumed_at IS NULL;
