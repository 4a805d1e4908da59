-- Everything lives in a schema of its own; {schema} is replaced by its quoted name.

CREATE TABLE {schema}.saga_definition (
    saga            text        NOT NULL,
    version         integer     NOT NULL,
    plan_hash       text        NOT NULL,
    registered_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (saga, version)
);

CREATE TABLE {schema}.saga_instance (
    id               uuid        PRIMARY KEY,
    saga             text        NOT NULL,
    version          integer     NOT NULL,
    key              text,
    current          boolean     NOT NULL DEFAULT true,
    status           text        NOT NULL DEFAULT 'pending',
    plan             jsonb       NOT NULL,
    plan_hash        text        NOT NULL,
    data             jsonb       NOT NULL,
    error            jsonb,
    stop             jsonb,
    deadline         timestamptz,
    deadline_seconds double precision,
    due_at           timestamptz,
    pending          integer     NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at      timestamptz,
    CONSTRAINT saga_instance_status CHECK
        (status IN ('pending', 'running', 'completed', 'compensating', 'compensated', 'failed')),
    CONSTRAINT saga_instance_finished_exactly_when_final CHECK
        ((finished_at IS NOT NULL) = (status IN ('completed', 'compensated', 'failed'))),
    CONSTRAINT saga_instance_final_is_never_due CHECK
        (NOT (status IN ('completed', 'compensated', 'failed') AND due_at IS NOT NULL)),
    CONSTRAINT saga_instance_pending_not_negative CHECK (pending >= 0)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);

-- One current instance a business key.
CREATE UNIQUE INDEX saga_instance_key ON {schema}.saga_instance (saga, key) WHERE current AND key IS NOT NULL;
-- All that the sweep scans.
CREATE INDEX saga_instance_due ON {schema}.saga_instance (due_at) WHERE due_at IS NOT NULL;

-- One row an execution: round 0 is the action, 1 its compensation, 2 and up later rounds of it.
CREATE TABLE {schema}.saga_step (
    instance_id      uuid        NOT NULL REFERENCES {schema}.saga_instance (id) ON DELETE CASCADE,
    position         integer     NOT NULL,
    branch           integer     NOT NULL,
    round            integer     NOT NULL,
    name             text        NOT NULL,
    queue            text,
    timeout          double precision NOT NULL,
    status           text        NOT NULL DEFAULT 'pending',
    token            uuid,
    worker_id        uuid,
    delivery         text,
    attempts         integer     NOT NULL DEFAULT 0,
    losses           integer     NOT NULL DEFAULT 0,
    doubt            boolean     NOT NULL DEFAULT false,
    stray            boolean     NOT NULL DEFAULT false,
    dispatches       integer     NOT NULL DEFAULT 1,
    epoch            uuid,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    dispatched_at    timestamptz DEFAULT clock_timestamp(),
    not_before       timestamptz,
    claimed_at       timestamptz,
    first_claimed_at timestamptz,
    finished_at      timestamptz,
    result           jsonb,
    error            jsonb,
    PRIMARY KEY (instance_id, position, branch, round),
    CONSTRAINT saga_step_status CHECK (status IN ('pending', 'running', 'completed', 'failed', 'skipped')),
    CONSTRAINT saga_step_running_has_token CHECK (status <> 'running' OR (token IS NOT NULL AND claimed_at IS NOT NULL)),
    CONSTRAINT saga_step_finished_exactly_when_ended CHECK
        ((finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'skipped'))),
    CONSTRAINT saga_step_completed_is_not_in_doubt CHECK (NOT (status = 'completed' AND doubt)),
    CONSTRAINT saga_step_counts CHECK (attempts >= 0 AND losses >= 0 AND dispatches >= 0)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);

-- Append-only: what cannot be read off the rows above. The happy path writes none.
CREATE TABLE {schema}.saga_event (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance_id uuid        NOT NULL REFERENCES {schema}.saga_instance (id) ON DELETE CASCADE,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    event       text        NOT NULL,
    position    integer,
    branch      integer,
    round       integer,
    step        text,
    detail      jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX saga_event_instance ON {schema}.saga_event (instance_id, id);

-- One row a boot of a worker's parent process.
CREATE TABLE {schema}.saga_worker (
    id           uuid        PRIMARY KEY,
    hostname     text        NOT NULL,
    pid          integer     NOT NULL,
    queues       text[]      NOT NULL,
    deliveries   text[]      NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    listed_at    timestamptz NOT NULL,  -- the deliveries were listed after this moment
    idle_at      timestamptz,           -- the last such moment at which it held nothing at all
    suspected_at timestamptz,
    dead_at      timestamptz,           -- declared dead for silence; final
    stopped_at   timestamptz            -- said goodbye: nothing of it runs any more
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01);

-- Emptied by exactly the crashes that can lose an unsynced claim, also of one backend; kept over a clean restart.
CREATE UNLOGGED TABLE {schema}.saga_epoch (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    epoch     uuid    NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO {schema}.saga_epoch DEFAULT VALUES;

-- The newest birth among the steps claimed from a queue: whatever was dispatched clearly before it was overtaken.
CREATE UNLOGGED TABLE {schema}.saga_queue (
    queue        text        PRIMARY KEY,
    claimed_born timestamptz NOT NULL
) WITH (fillfactor = 50);

-- When the last sweep ran: a pile of sweep messages returns at once.
CREATE TABLE {schema}.saga_sweep (
    singleton boolean     PRIMARY KEY DEFAULT true CHECK (singleton),
    swept_at  timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);
INSERT INTO {schema}.saga_sweep DEFAULT VALUES;
