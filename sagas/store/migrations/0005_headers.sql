-- What the messages of an instance carry of its caller's context, as it was at its start. Null: nothing was kept, or the
-- release that started it kept nothing; then messages go and come as they are.
ALTER TABLE {schema}.saga_instance ADD COLUMN headers jsonb;
