-- Choreographed runs: an instance that numbers its events, a step that is a delivery, an entry of the inbox that is an
-- event.
ALTER TABLE {schema}.saga_definition ADD COLUMN plan jsonb;

ALTER TABLE {schema}.saga_instance
    ADD COLUMN numbered integer,
    ADD COLUMN closed jsonb,
    ADD COLUMN ended_by integer,
    ADD COLUMN turned_at timestamptz,
    DROP CONSTRAINT saga_instance_final_is_never_due;
-- A deadline turns back a run that waits for a person, too.
ALTER TABLE {schema}.saga_instance
    ADD CONSTRAINT saga_instance_final_is_never_due CHECK
        (NOT (status IN ('completed', 'compensated') AND due_at IS NOT NULL)
         AND NOT (status = 'failed' AND numbered IS NULL AND due_at IS NOT NULL)),
    ADD CONSTRAINT saga_instance_numbered_not_negative CHECK (numbered >= 0);

ALTER TABLE {schema}.saga_step
    ADD COLUMN event_id uuid,
    ADD COLUMN edits integer NOT NULL DEFAULT 0,
    ADD COLUMN input jsonb,
    ADD COLUMN dead_at timestamptz,
    DROP CONSTRAINT saga_step_status;
ALTER TABLE {schema}.saga_step
    ADD CONSTRAINT saga_step_status CHECK
        (status IN ('held', 'pending', 'running', 'completed', 'failed', 'skipped')),
    ADD CONSTRAINT saga_step_only_deliveries_are_held CHECK (status <> 'held' OR event_id IS NOT NULL),
    ADD CONSTRAINT saga_step_dead_has_failed CHECK (dead_at IS NULL OR (status = 'failed' AND event_id IS NOT NULL))
       ;
CREATE INDEX saga_step_open ON {schema}.saga_step (instance_id, position)
    WHERE event_id IS NOT NULL AND (finished_at IS NULL OR dead_at IS NOT NULL);
CREATE INDEX saga_step_dead ON {schema}.saga_step (dead_at) WHERE dead_at IS NOT NULL;

ALTER TABLE {schema}.saga_inbox
    ADD COLUMN event_id uuid,
    ADD COLUMN version integer,
    ADD COLUMN number integer,
    ADD COLUMN cause integer,
    ADD COLUMN depth integer NOT NULL DEFAULT 0,
    ADD COLUMN letter text,
    ADD COLUMN acknowledged_at timestamptz,
    DROP CONSTRAINT saga_inbox_kind;
ALTER TABLE {schema}.saga_inbox
    ADD CONSTRAINT saga_inbox_kind CHECK (kind IN ('signal', 'cancel', 'undo', 'child', 'wake', 'event')),
    ADD CONSTRAINT saga_inbox_event_has_an_id CHECK ((kind = 'event') = (event_id IS NOT NULL)),
    ADD CONSTRAINT saga_inbox_numbered_is_consumed CHECK (number IS NULL OR consumed_at IS NOT NULL);
CREATE UNIQUE INDEX saga_inbox_number ON {schema}.saga_inbox (instance_id, number) WHERE number IS NOT NULL;
CREATE INDEX saga_inbox_letter ON {schema}.saga_inbox (instance_id, letter)
    WHERE letter IS NOT NULL AND acknowledged_at IS NULL;
