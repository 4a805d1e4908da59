-- Which release a worker runs; NULL for those that did not say it yet. `check` names the older ones that are alive.
ALTER TABLE {schema}.saga_worker ADD COLUMN release text;
