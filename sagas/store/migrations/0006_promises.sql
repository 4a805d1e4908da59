-- Deadlines do not run in an outage: between two sweeps that are far apart nobody could do anything.
ALTER TABLE {schema}.saga_sweep
    ADD COLUMN outage_from  timestamptz,
    ADD COLUMN outage_until timestamptz;
