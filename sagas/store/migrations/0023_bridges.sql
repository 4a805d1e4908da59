-- Bridges to other services: what leaves, until the other side has stored it, and what has come.
CREATE TABLE {schema}.saga_export (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bridge      text        NOT NULL,
    run_id      uuid        NOT NULL,
    index       integer     NOT NULL,
    number      integer     NOT NULL,
    born_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at      timestamptz DEFAULT clock_timestamp(),
    sent_at     timestamptz,
    received_at timestamptz,
    tries       integer     NOT NULL DEFAULT 0,
    skipped     text,
    CONSTRAINT saga_export_index UNIQUE (bridge, run_id, index),
    CONSTRAINT saga_export_due_until_received CHECK ((due_at IS NULL) = (received_at IS NOT NULL))
) WITH (autovacuum_vacuum_scale_factor = 0.01);
CREATE INDEX saga_export_due ON {schema}.saga_export (bridge, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX saga_export_run ON {schema}.saga_export (run_id);

CREATE TABLE {schema}.saga_import (
    bridge      text        NOT NULL,
    event_id    uuid        NOT NULL,
    run_there   uuid        NOT NULL,
    run_id      uuid        NOT NULL,
    index       integer,
    message     bytea,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    taken_at    timestamptz,
    refused     text,
    acknowledged_at timestamptz,
    PRIMARY KEY (bridge, event_id),
    CONSTRAINT saga_import_index UNIQUE (bridge, run_there, index),
    CONSTRAINT saga_import_without_an_index_is_refused CHECK (index IS NOT NULL OR refused IS NOT NULL)
) WITH (autovacuum_vacuum_scale_factor = 0.01);
CREATE INDEX saga_import_run ON {schema}.saga_import (run_id);
CREATE INDEX saga_import_held ON {schema}.saga_import (bridge, received_at) WHERE taken_at IS NULL;
CREATE INDEX saga_import_refused ON {schema}.saga_import (bridge, received_at)
    WHERE refused IS NOT NULL AND acknowledged_at IS NULL;

CREATE TABLE {schema}.saga_bridge (
    name         text        PRIMARY KEY,
    closed_until timestamptz,
    error        text,
    dropped      bigint      NOT NULL DEFAULT 0,
    dropped_at   timestamptz,
    dropped_for  text
);
