-- The claim of a step that must not run twice waits for the disk, so that a crash of the database leaves it no doubt. A
-- worker of an older release does not say that its claims do, nor does a step to which such a process gave birth.
ALTER TABLE {schema}.saga_step ADD COLUMN synced_claim boolean;
ALTER TABLE {schema}.saga_worker ADD COLUMN syncs_claims boolean NOT NULL DEFAULT false;
CREATE INDEX saga_worker_syncs_no_claims ON {schema}.saga_worker (id) WHERE NOT syncs_claims;
