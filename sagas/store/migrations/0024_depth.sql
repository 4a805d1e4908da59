-- How many causes lie between an event from outside and what a saga publishes that began on an event. NULL: none.
ALTER TABLE {schema}.saga_instance ADD COLUMN depth integer;
