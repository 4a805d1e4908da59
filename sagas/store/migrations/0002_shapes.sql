-- Parallel branches, signals, child sagas, semantic locks.

ALTER TABLE {schema}.saga_instance
    ADD COLUMN parent_id uuid,   -- the saga that started this one as a step of its own
    ADD COLUMN written   jsonb;  -- which branch of the current position returned which key
CREATE INDEX saga_instance_parent ON {schema}.saga_instance (parent_id) WHERE parent_id IS NOT NULL;

ALTER TABLE {schema}.saga_step
    ADD COLUMN task text,                        -- the one whose message may claim it; null: no worker runs it
    ADD COLUMN lane integer NOT NULL DEFAULT 0;  -- steps of one position and lane follow one another
UPDATE {schema}.saga_step AS step
SET task = instance.plan -> 'steps' -> step.position ->> CASE WHEN step.round = 0 THEN 'task' ELSE 'compensation' END
FROM {schema}.saga_instance AS instance
WHERE instance.id = step.instance_id AND step.status IN ('pending', 'running', 'failed');

-- A process of an older release, still running while this one is deployed, knows no `task`.
CREATE FUNCTION {schema}.saga_step_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.task := (
        SELECT step ->> CASE WHEN NEW.round = 0 THEN 'task' ELSE 'compensation' END
        FROM {schema}.saga_instance AS instance, jsonb_array_elements(instance.plan -> 'steps') AS step
        WHERE instance.id = NEW.instance_id AND (step ->> 'position')::int = NEW.position
          AND coalesce((step ->> 'branch')::int, 0) = NEW.branch
    );
    RETURN NEW;
END $$;
CREATE TRIGGER saga_step_task BEFORE INSERT ON {schema}.saga_step
    FOR EACH ROW WHEN (NEW.task IS NULL) EXECUTE FUNCTION {schema}.saga_step_task();

-- Deliveries that the worker should stop; its next heartbeat takes them along.
ALTER TABLE {schema}.saga_worker ADD COLUMN to_stop text[] NOT NULL DEFAULT '{}';

-- What others have to say to an instance. No foreign key: it would lock the instance's row for as long as the
-- writer's transaction is open.
CREATE TABLE {schema}.saga_inbox (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance_id uuid        NOT NULL,
    kind        text        NOT NULL,
    name        text        NOT NULL DEFAULT '',
    key         text,                            -- a second one with the same key does nothing
    payload     jsonb,
    sent_by     text        NOT NULL DEFAULT 'application',
    sent_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at     timestamptz,                     -- the instance was looked at since
    consumed_at timestamptz,                     -- it has had its effect
    CONSTRAINT saga_inbox_kind CHECK (kind IN ('signal', 'cancel', 'undo', 'child', 'wake')),
    CONSTRAINT saga_inbox_consumed_is_seen CHECK (consumed_at IS NULL OR seen_at IS NOT NULL)
) WITH (autovacuum_vacuum_scale_factor = 0.01);
CREATE UNIQUE INDEX saga_inbox_key ON {schema}.saga_inbox (instance_id, kind, name, key) WHERE key IS NOT NULL;
CREATE INDEX saga_inbox_open ON {schema}.saga_inbox (instance_id, id) WHERE consumed_at IS NULL;
-- All that the sweep reads of it.
CREATE INDEX saga_inbox_unseen ON {schema}.saga_inbox (id) WHERE seen_at IS NULL;

-- Who holds, or waits in a line for, a named resource; a limit of concurrent instances is a resource that several hold.
CREATE TABLE {schema}.saga_lock (
    resource    text        NOT NULL,
    instance_id uuid        NOT NULL,
    -- The order of the line: one number an instance, whatever it names, so that it is first everywhere or nowhere.
    ticket      bigint      NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    capacity    integer     NOT NULL DEFAULT 1,
    lasting     boolean     NOT NULL DEFAULT true,  -- a failed instance keeps it until a person has resolved it
    granted_at  timestamptz,
    ended_at    timestamptz,                     -- its instance has ended: whoever ended it gives it back, or the sweep
    PRIMARY KEY (resource, instance_id),
    CONSTRAINT saga_lock_capacity CHECK (capacity >= 1)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);
CREATE INDEX saga_lock_line ON {schema}.saga_lock (resource, ticket) WHERE granted_at IS NULL;
CREATE INDEX saga_lock_granted ON {schema}.saga_lock (resource) WHERE granted_at IS NOT NULL;
CREATE INDEX saga_lock_ended ON {schema}.saga_lock (instance_id) WHERE ended_at IS NOT NULL;
CREATE INDEX saga_lock_instance ON {schema}.saga_lock (instance_id);
