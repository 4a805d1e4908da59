-- What a body hands over to its compensation before it returns: append-only, kept whatever becomes of its claim.
CREATE TABLE {schema}.saga_record (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance_id uuid        NOT NULL REFERENCES {schema}.saga_instance (id) ON DELETE CASCADE,
    position    integer     NOT NULL,
    branch      integer     NOT NULL,
    token       uuid        NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    data        jsonb       NOT NULL
);
CREATE INDEX saga_record_instance ON {schema}.saga_record (instance_id, position, branch, id);
