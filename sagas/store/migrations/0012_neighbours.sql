-- Who a worker belongs to, as it says itself; NULL for those that did not say it yet. `check` and every worker that
-- starts compare it with their own.
ALTER TABLE {schema}.saga_worker
    ADD COLUMN app           text,   -- the name of its Celery app
    ADD COLUMN control_queue text,   -- where its error callbacks, sweeps and purges come
    ADD COLUMN broker        text,   -- its broker's URL without the password
    ADD COLUMN plans         jsonb;  -- fingerprints of its sagas' plans, by name and version
-- Whose control messages are whose: the mark of this schema, whatever name a process reaches the database by.
ALTER TABLE {schema}.saga_sweep ADD COLUMN home uuid NOT NULL DEFAULT gen_random_uuid();
