-- A run that has ended may have an open delivery of an event that came late, and is due as long as it has.
ALTER TABLE {schema}.saga_instance DROP CONSTRAINT saga_instance_final_is_never_due;
ALTER TABLE {schema}.saga_instance ADD CONSTRAINT saga_instance_final_is_never_due CHECK
    (due_at IS NULL OR status NOT IN ('completed', 'compensated', 'failed')
     OR (numbered IS NOT NULL AND (status = 'failed' OR pending > 0)));
