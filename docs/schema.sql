-- The tables as all migrations together leave them, in the schema "sagas". To read, not to run: `sagas migrate` makes
-- them. `tests/integration/store/test_schema.py` holds this file to the migrations.

CREATE SCHEMA sagas;

-- What was applied.
CREATE TABLE sagas.saga_migration (
    number     integer     PRIMARY KEY,
    name       text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The plan of each version of a saga, by its fingerprint: another one is refused while instances are in flight.
CREATE TABLE sagas.saga_definition (
    saga          text        NOT NULL,
    version       integer     NOT NULL,
    plan_hash     text        NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    plan          jsonb,                     -- of a choreography: the whole graph, as its workers know it
    PRIMARY KEY (saga, version)
);

-- -- Instances and what they have done

CREATE TABLE sagas.saga_instance (
    id               uuid        PRIMARY KEY,
    saga             text        NOT NULL,
    version          integer     NOT NULL,
    key              text,                                -- the business key
    current          boolean     NOT NULL DEFAULT true,   -- false: another one was started with its key
    plan             jsonb       NOT NULL,                -- its steps and policies, as they were when it was started
    plan_hash        text        NOT NULL,
    data             jsonb       NOT NULL,                -- the input; what steps return is theirs
    error            jsonb,                               -- the first one that decided that it turns back or fails
    stop             jsonb,                               -- a recorded wish to end it: a cancel, a deadline
    deadline         timestamptz,
    deadline_seconds double precision,                    -- counted from the first claim, which makes it a deadline
    due_at           timestamptz,                         -- when the sweep looks at it; null: it has ended
    pending          integer     NOT NULL DEFAULT 1,      -- executions that are awaited at the current position
    written          jsonb,                               -- which branch of the current position returned which key
    parent_id        uuid,                                -- the saga that started this one as a step of its own
    headers          jsonb,                               -- what its messages carry of its caller's context
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at      timestamptz,
    -- Behind what never changes: what an update changes and what lies between goes into the log.
    status           text        NOT NULL DEFAULT 'pending',
    -- The status of the few that have turned back or failed. `status` itself is in no index, since the first completion
    -- changes it, and would then write to all of them.
    setback          text GENERATED ALWAYS AS
        (CASE WHEN status IN ('compensating', 'compensated', 'failed') THEN status END) STORED,
    unreadable_at    timestamptz,                         -- since when the sweep cannot read its rows, while in flight
    -- Of a choreographed run alone.
    numbered         integer,                             -- how many events have a number; null: it is a saga's
    closed           jsonb,                               -- handlers that begin nothing more, by the event that closed them
    ended_by         integer,                             -- the number of the event that ended it
    turned_at        timestamptz,                         -- since when it turns back
    -- What began it; null: a caller.
    correlation_id   uuid,                                -- that of what began it: all that belong together have it
    caused_by        text,                                -- the idempotency key of the step or delivery that began it
    came             jsonb,                               -- the awaited types of which an event has come
    quiet_from       timestamptz,                         -- from when on it is quiet, if nothing happens
    quiet_at         timestamptz,                         -- when that was announced, once a run
    depth            integer,                             -- how many causes what it publishes is away from outside
    CONSTRAINT saga_instance_status CHECK
        (status IN ('pending', 'running', 'completed', 'compensating', 'compensated', 'failed')),
    CONSTRAINT saga_instance_finished_exactly_when_final CHECK
        ((finished_at IS NOT NULL) = (status IN ('completed', 'compensated', 'failed'))),
    -- But a deadline turns back a run that waits for a person, too; and one that has ended may have an open delivery of
    -- an event that came late.
    CONSTRAINT saga_instance_final_is_never_due CHECK
        (due_at IS NULL OR status NOT IN ('completed', 'compensated', 'failed')
         OR (numbered IS NOT NULL AND (status = 'failed' OR pending > 0))),
    CONSTRAINT saga_instance_pending_not_negative CHECK (pending >= 0),
    CONSTRAINT saga_instance_numbered_not_negative CHECK (numbered >= 0)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);

-- One current instance a business key; and those that had it before. By its beginning a key is found in bytewise order.
CREATE UNIQUE INDEX saga_instance_key ON sagas.saga_instance (saga, key text_pattern_ops)
    WHERE current AND key IS NOT NULL;
CREATE INDEX saga_instance_former ON sagas.saga_instance (saga, key text_pattern_ops)
    WHERE NOT current AND key IS NOT NULL;
-- All that the sweep scans; and all that a purge scans, the oldest first.
CREATE INDEX saga_instance_due ON sagas.saga_instance (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX saga_instance_ended ON sagas.saga_instance (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX saga_instance_parent ON sagas.saga_instance (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX saga_instance_correlation ON sagas.saga_instance (correlation_id) WHERE correlation_id IS NOT NULL;
-- Lists: all in their order, and what few instances have.
CREATE INDEX saga_instance_listed ON sagas.saga_instance (saga, created_at, id);
CREATE INDEX saga_instance_setback ON sagas.saga_instance (setback, saga, created_at, id) WHERE setback IS NOT NULL;
CREATE INDEX saga_instance_unreadable ON sagas.saga_instance (unreadable_at) WHERE unreadable_at IS NOT NULL;
CREATE INDEX saga_instance_quiet ON sagas.saga_instance (quiet_from) WHERE quiet_from IS NOT NULL;
CREATE INDEX saga_instance_error ON sagas.saga_instance USING gin (to_tsvector('simple', regexp_replace(
    left((error ->> 'type') || ' ' || (error ->> 'message'), 4000), '\W+', ' ', 'g'))) WHERE error IS NOT NULL;

-- One row an execution: round 0 is the action, 1 its compensation, 2 and up later rounds of it.
CREATE TABLE sagas.saga_step (
    instance_id      uuid        NOT NULL REFERENCES sagas.saga_instance (id) ON DELETE CASCADE,
    position         integer     NOT NULL,
    branch           integer     NOT NULL,
    round            integer     NOT NULL,
    lane             integer     NOT NULL DEFAULT 0,   -- steps of one position and lane follow one another
    name             text        NOT NULL,
    task             text,                             -- whose message may claim it; null: no worker runs it
    queue            text,
    timeout          double precision NOT NULL,
    soft_timeout     double precision,                 -- when the body is asked to stop; null: when its time is over
    status           text        NOT NULL DEFAULT 'pending',
    token            uuid,                             -- of the claim that holds it
    worker_id        uuid,
    delivery         text,                             -- the id of the message that claimed it
    attempts         integer     NOT NULL DEFAULT 0,
    losses           integer     NOT NULL DEFAULT 0,   -- attempts whose process died
    polls            integer     NOT NULL DEFAULT 0,   -- attempts that asked to come again and use up none
    polled_since     timestamptz,
    parked_since     timestamptz,                      -- since when it waits since its task cannot be called
    forgiven         integer     NOT NULL DEFAULT 0,   -- attempts that a person has forgiven with a retry
    doubt            boolean     NOT NULL DEFAULT false, -- it may have acted
    stray            boolean     NOT NULL DEFAULT false, -- it reported a success that came too late
    dispatches       integer     NOT NULL DEFAULT 1,   -- messages sent since the last claim
    line             text,                             -- null: in no line; '': goes first; else the line of a saga's first
    epoch            uuid,                             -- see saga_epoch
    synced_claim     boolean,                          -- whether its claim waits for the disk: it must not run twice
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    dispatched_at    timestamptz DEFAULT clock_timestamp(),
    not_before       timestamptz,
    claimed_at       timestamptz,
    first_claimed_at timestamptz,
    finished_at      timestamptz,
    result           jsonb,
    error            jsonb,
    -- Of a delivery alone: position is the event's number in its run, and branch is the handler's place in the plan.
    event_id         uuid,                             -- the event that it delivers; null: it is a saga's step
    edits            integer     NOT NULL DEFAULT 0,   -- how often a person gave it another payload
    input            jsonb,                            -- the last of these
    dead_at          timestamptz,                      -- since when it is a dead letter
    PRIMARY KEY (instance_id, position, branch, round),
    CONSTRAINT saga_step_status CHECK (status IN ('held', 'pending', 'running', 'completed', 'failed', 'skipped')),
    CONSTRAINT saga_step_only_deliveries_are_held CHECK (status <> 'held' OR event_id IS NOT NULL),
    CONSTRAINT saga_step_dead_has_failed CHECK (dead_at IS NULL OR (status = 'failed' AND event_id IS NOT NULL)),
    CONSTRAINT saga_step_running_has_token CHECK
        (status <> 'running' OR (token IS NOT NULL AND claimed_at IS NOT NULL)),
    CONSTRAINT saga_step_finished_exactly_when_ended CHECK
        ((finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'skipped'))),
    CONSTRAINT saga_step_completed_is_not_in_doubt CHECK (NOT (status = 'completed' AND doubt)),
    CONSTRAINT saga_step_counts CHECK (attempts >= 0 AND losses >= 0 AND dispatches >= 0)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01);

-- What is in flight: of each queue its line, and what is out or runs; and what waits for a time, a signal or another
-- saga. A claim changes none of these columns, so it touches no index.
CREATE INDEX saga_step_live ON sagas.saga_step (queue, line, created_at) WHERE finished_at IS NULL AND task IS NOT NULL;
CREATE INDEX saga_step_waiting ON sagas.saga_step (name, instance_id) WHERE finished_at IS NULL AND task IS NULL;
-- What a look at a run reads of it, however many of its deliveries are done; and all dead letters.
CREATE INDEX saga_step_open ON sagas.saga_step (instance_id, branch, position)
    WHERE event_id IS NOT NULL AND (finished_at IS NULL OR dead_at IS NOT NULL);
CREATE INDEX saga_step_dead ON sagas.saga_step (dead_at, instance_id, position, branch, round)
    WHERE dead_at IS NOT NULL;
CREATE INDEX saga_step_dead_of ON sagas.saga_step (name, dead_at, instance_id, position, branch, round)
    WHERE dead_at IS NOT NULL;
CREATE INDEX saga_step_letter ON sagas.saga_step (instance_id) WHERE dead_at IS NOT NULL;

-- A process of an older release knows no `task`.
CREATE FUNCTION sagas.saga_step_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.task := (
        SELECT step ->> CASE WHEN NEW.round = 0 THEN 'task' ELSE 'compensation' END
        FROM sagas.saga_instance AS instance, jsonb_array_elements(instance.plan -> 'steps') AS step
        WHERE instance.id = NEW.instance_id AND (step ->> 'position')::int = NEW.position
          AND coalesce((step ->> 'branch')::int, 0) = NEW.branch
    );
    RETURN NEW;
END $$;
CREATE TRIGGER saga_step_task BEFORE INSERT ON sagas.saga_step
    FOR EACH ROW WHEN (NEW.task IS NULL) EXECUTE FUNCTION sagas.saga_step_task();

-- What a body hands over to its compensation before it returns: append-only, kept whatever becomes of its claim.
CREATE TABLE sagas.saga_record (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance_id uuid        NOT NULL REFERENCES sagas.saga_instance (id) ON DELETE CASCADE,
    position    integer     NOT NULL,
    branch      integer     NOT NULL,
    token       uuid        NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    data        jsonb       NOT NULL
);
CREATE INDEX saga_record_instance ON sagas.saga_record (instance_id, position, branch, id);

-- Append-only: what cannot be read off the rows above. The happy path writes none.
CREATE TABLE sagas.saga_event (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance_id uuid        NOT NULL REFERENCES sagas.saga_instance (id) ON DELETE CASCADE,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    event       text        NOT NULL,
    position    integer,
    branch      integer,
    round       integer,
    step        text,
    detail      jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX saga_event_instance ON sagas.saga_event (instance_id, id);

-- What others have to say to an instance. No foreign key: it would lock the instance's row for as long as the writer's
-- transaction is open.
CREATE TABLE sagas.saga_inbox (
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
    -- Of an event alone, whose type is its name. It is inserted without a number, and gets one when its run is looked at.
    event_id    uuid,
    version     integer,
    number      integer,                         -- its place in the run, for good
    cause       integer,                         -- the number of the event that its publisher reacted to
    depth       integer     NOT NULL DEFAULT 0,  -- how many causes it is away from an event from outside
    letter      text,                            -- why it was delivered to no handler, if that needs a reason
    acknowledged_at timestamptz,                 -- a person has looked at that
    caused_by       text,                        -- what published it, if that was not a handler of its run
    -- Of an event from outside, which may come before its run.
    choreography text,
    run_key      text,                           -- the business key by which it was published, if it was
    early_until  timestamptz,                    -- how long it waits for its run
    CONSTRAINT saga_inbox_kind CHECK (kind IN ('signal', 'cancel', 'undo', 'child', 'wake', 'event')),
    CONSTRAINT saga_inbox_consumed_is_seen CHECK (consumed_at IS NULL OR seen_at IS NOT NULL),
    CONSTRAINT saga_inbox_event_has_an_id CHECK ((kind = 'event') = (event_id IS NOT NULL)),
    CONSTRAINT saga_inbox_numbered_is_consumed CHECK (number IS NULL OR consumed_at IS NOT NULL)
) WITH (autovacuum_vacuum_scale_factor = 0.01);
CREATE UNIQUE INDEX saga_inbox_key ON sagas.saga_inbox (instance_id, kind, name, key) WHERE key IS NOT NULL;
CREATE INDEX saga_inbox_open ON sagas.saga_inbox (instance_id, id) WHERE consumed_at IS NULL;
CREATE INDEX saga_inbox_unseen ON sagas.saga_inbox (id) WHERE seen_at IS NULL;
CREATE UNIQUE INDEX saga_inbox_number ON sagas.saga_inbox (instance_id, number) WHERE number IS NOT NULL;
CREATE INDEX saga_inbox_letter ON sagas.saga_inbox (instance_id, letter)
    WHERE letter IS NOT NULL AND acknowledged_at IS NULL;
CREATE INDEX saga_inbox_undelivered ON sagas.saga_inbox (consumed_at, instance_id, event_id)
    WHERE letter IS NOT NULL AND letter <> 'muted' AND acknowledged_at IS NULL;
CREATE INDEX saga_inbox_type ON sagas.saga_inbox (name, version, id) WHERE event_id IS NOT NULL;
CREATE INDEX saga_inbox_early ON sagas.saga_inbox (early_until)
    WHERE kind = 'event' AND seen_at IS NOT NULL AND consumed_at IS NULL;

-- Handlers of choreographies that give up deliveries.
CREATE TABLE sagas.saga_handler (
    choreography  text             NOT NULL,
    handler       text             NOT NULL,
    dead_in_row   integer          NOT NULL DEFAULT 0,  -- since it last did one
    last_error    text,
    paused_at     timestamptz,                          -- since when it is paused, since it only fails
    paused_until  timestamptz,                          -- when one delivery is tried
    pause_seconds double precision NOT NULL DEFAULT 60, -- how long the next pause is
    PRIMARY KEY (choreography, handler)
) WITH (fillfactor = 50);

-- What was told of dead letters: one alert a minute for each kind. Without a handler: events that no handler gets.
CREATE TABLE sagas.saga_alarm (
    choreography text        NOT NULL,
    handler      text        NOT NULL,
    error        text        NOT NULL,
    former_at    timestamptz NOT NULL DEFAULT clock_timestamp() - interval '1 minute', -- the alert before
    told_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    more         boolean     NOT NULL DEFAULT false,       -- there are further letters: the sweep tells
    PRIMARY KEY (choreography, handler, error)
) WITH (fillfactor = 50);

-- -- Bridges to other services

-- What leaves: an event of a run, at its place among those of the run that leave by a bridge.
CREATE TABLE sagas.saga_export (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bridge      text        NOT NULL,
    run_id      uuid        NOT NULL,
    index       integer     NOT NULL,            -- dense, from 1
    number      integer     NOT NULL,            -- the event's own, in its run
    born_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at      timestamptz DEFAULT clock_timestamp(), -- when it is sent, again if need be; null: the other side has it
    sent_at     timestamptz,                     -- when the broker took it last
    received_at timestamptz,                     -- when the other side said so
    tries       integer     NOT NULL DEFAULT 0,  -- how often the broker took it; an outage does not count
    skipped     text,                            -- why a mark was sent in its place
    CONSTRAINT saga_export_index UNIQUE (bridge, run_id, index),
    CONSTRAINT saga_export_due_until_received CHECK ((due_at IS NULL) = (received_at IS NOT NULL))
) WITH (autovacuum_vacuum_scale_factor = 0.01);
CREATE INDEX saga_export_due ON sagas.saga_export (bridge, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX saga_export_run ON sagas.saga_export (run_id);

-- What has come. It is remembered for as long as its run, and for 30 days at least.
CREATE TABLE sagas.saga_import (
    bridge      text        NOT NULL,
    event_id    uuid        NOT NULL,            -- as the other side has it
    run_there   uuid        NOT NULL,            -- the id of its run there
    run_id      uuid        NOT NULL,            -- and here
    index       integer,                         -- its place among those of its run; they are taken in this order
    message     bytea,                           -- as it came, until it is taken; for good if it was refused
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    taken_at    timestamptz,                     -- published into its run, or refused when it had its turn
    refused     text,                            -- why it is not published
    acknowledged_at timestamptz,                 -- a person has dealt with that
    PRIMARY KEY (bridge, event_id),
    CONSTRAINT saga_import_index UNIQUE (bridge, run_there, index),
    CONSTRAINT saga_import_without_an_index_is_refused CHECK (index IS NOT NULL OR refused IS NOT NULL)
) WITH (autovacuum_vacuum_scale_factor = 0.01);
CREATE INDEX saga_import_run ON sagas.saga_import (run_id);
CREATE INDEX saga_import_held ON sagas.saga_import (bridge, received_at) WHERE taken_at IS NULL;
CREATE INDEX saga_import_refused ON sagas.saga_import (bridge, received_at)
    WHERE refused IS NOT NULL AND acknowledged_at IS NULL;

-- How a bridge stands, for people.
CREATE TABLE sagas.saga_bridge (
    name         text        PRIMARY KEY,
    closed_until timestamptz,                    -- its broker is away: when it is tried again
    error        text,                           -- what was met last; null: it is open
    dropped      bigint      NOT NULL DEFAULT 0, -- how many messages were of no sender, and are not kept
    dropped_at   timestamptz,
    dropped_for  text
);

-- Who holds, or waits in a line for, a named resource; a limit of concurrent instances is a resource that several hold.
CREATE TABLE sagas.saga_lock (
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
CREATE INDEX saga_lock_line ON sagas.saga_lock (resource, ticket) WHERE granted_at IS NULL;
CREATE INDEX saga_lock_granted ON sagas.saga_lock (resource) WHERE granted_at IS NOT NULL;
CREATE INDEX saga_lock_ended ON sagas.saga_lock (instance_id) WHERE ended_at IS NOT NULL;
CREATE INDEX saga_lock_instance ON sagas.saga_lock (instance_id);

-- -- Who works

-- One row a boot of a worker's parent process.
CREATE TABLE sagas.saga_worker (
    id            uuid        PRIMARY KEY,
    hostname      text        NOT NULL,
    pid           integer     NOT NULL,
    queues        text[]      NOT NULL,
    deliveries    text[]      NOT NULL,              -- the messages that it has and has not finished
    kept          text[]      NOT NULL DEFAULT '{}', -- executions that it keeps back, as "id address"
    to_stop       text[]      NOT NULL DEFAULT '{}', -- deliveries that it should stop; its next heartbeat takes them along
    slots         integer     NOT NULL DEFAULT 1,    -- how many steps it runs at a time
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    listed_at     timestamptz NOT NULL,              -- the deliveries were listed after this moment
    idle_at       timestamptz,                       -- the last such moment at which it held nothing at all
    suspected_at  timestamptz,
    dead_at       timestamptz,                       -- declared dead for silence; final
    stopped_at    timestamptz,                       -- said goodbye: nothing of it runs any more
    release       text,                              -- which release it runs; null: it did not say it
    app           text,                              -- the name of its Celery app
    control_queue text,                              -- where its error callbacks, sweeps and purges come
    broker        text,                              -- its broker's URL without the password
    plans         jsonb,                             -- fingerprints of its sagas' plans, by name and version
    syncs_claims  boolean     NOT NULL DEFAULT false -- whether its claims of steps that must not run twice wait for the disk
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01);
CREATE INDEX saga_worker_syncs_no_claims ON sagas.saga_worker (id) WHERE NOT syncs_claims;

-- Emptied by exactly the crashes that can lose an unsynced claim, also of one backend; kept over a clean restart.
CREATE UNLOGGED TABLE sagas.saga_epoch (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    epoch     uuid    NOT NULL DEFAULT gen_random_uuid()
);

-- Of each queue the newest birth, and the newest message, among what was claimed from it: what was sent clearly before
-- it was overtaken.
CREATE UNLOGGED TABLE sagas.saga_queue (
    queue        text        PRIMARY KEY,
    claimed_born timestamptz NOT NULL DEFAULT '-infinity',
    claimed_sent timestamptz
) WITH (fillfactor = 50);

-- When the last sweep ran, and the last outage: deadlines do not run in it. `home` tells whose control messages are whose.
CREATE TABLE sagas.saga_sweep (
    singleton    boolean     PRIMARY KEY DEFAULT true CHECK (singleton),
    swept_at     timestamptz NOT NULL DEFAULT '-infinity',
    outage_from  timestamptz,
    outage_until timestamptz,
    home         uuid        NOT NULL DEFAULT gen_random_uuid()
) WITH (fillfactor = 50);

-- Who fills the queues of an app from their lines. A row and not a lock: a frozen holder keeps it only so long.
CREATE TABLE sagas.saga_lease (
    name   text        PRIMARY KEY,
    holder uuid        NOT NULL,
    until  timestamptz NOT NULL
) WITH (fillfactor = 50);
