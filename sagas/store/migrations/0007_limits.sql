-- Limits that are a task's own, and polls.

ALTER TABLE {schema}.saga_step
    ADD COLUMN soft_timeout double precision,         -- when the body is asked to stop; null: when its time is over
    ADD COLUMN polls        integer NOT NULL DEFAULT 0, -- attempts that asked to come again and use up none
    ADD COLUMN polled_since timestamptz;              -- when the first of these was claimed; bounds them all
