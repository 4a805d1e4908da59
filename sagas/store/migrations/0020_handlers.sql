-- Handlers that only fail, and what was told about dead letters.
CREATE TABLE {schema}.saga_handler (
    choreography  text             NOT NULL,
    handler       text             NOT NULL,
    dead_in_row   integer          NOT NULL DEFAULT 0,
    last_error    text,
    paused_at     timestamptz,
    paused_until  timestamptz,
    pause_seconds double precision NOT NULL DEFAULT 60,
    PRIMARY KEY (choreography, handler)
) WITH (fillfactor = 50);

CREATE TABLE {schema}.saga_alarm (
    choreography text        NOT NULL,
    handler      text        NOT NULL,
    error        text        NOT NULL,
    former_at    timestamptz NOT NULL DEFAULT clock_timestamp() - interval '1 minute',
    told_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    more         boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (choreography, handler, error)
) WITH (fillfactor = 50);
