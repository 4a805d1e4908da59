-- The line: steps that are to be sent and whose message is not out yet, in their order.

ALTER TABLE {schema}.saga_step
    ADD COLUMN line text;  -- null: in no line; '': goes first; else the line of the first steps of a saga
-- Of each queue its line, and what is out or runs. A claim changes none of these columns, so it touches no index.
CREATE INDEX saga_step_live ON {schema}.saga_step (queue, line, created_at)
    WHERE finished_at IS NULL AND task IS NOT NULL;

ALTER TABLE {schema}.saga_worker
    ADD COLUMN slots integer NOT NULL DEFAULT 1,      -- how many steps it runs at a time
    ADD COLUMN kept  text[]  NOT NULL DEFAULT '{}';   -- executions that it has received and keeps back, as "id address"

-- When the newest message was sent that was claimed from a queue. A process of an older release reports births alone.
ALTER TABLE {schema}.saga_queue
    ADD COLUMN claimed_sent timestamptz,
    ALTER COLUMN claimed_born SET DEFAULT '-infinity';

-- Who fills the queues of an app from their lines. A row and not a lock: a frozen holder keeps it only so long.
CREATE TABLE {schema}.saga_lease (
    name   text        PRIMARY KEY,
    holder uuid        NOT NULL,
    until  timestamptz NOT NULL
) WITH (fillfactor = 50);
