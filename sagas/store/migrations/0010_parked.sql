-- Since when a step waits whose task cannot be called; and how many attempts a person has forgiven with a retry: they
-- stay told, and use up no budget.
ALTER TABLE {schema}.saga_step
    ADD COLUMN parked_since timestamptz,
    ADD COLUMN forgiven     integer NOT NULL DEFAULT 0;
