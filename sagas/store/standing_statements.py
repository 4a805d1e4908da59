"""Named statements about how choreographies stand (see `statements` for their conventions)."""

#: A row for each choreography that a worker has registered. Counts go up to a limit. It reads what is in flight, and no
#: run that has ended, unless it has a letter: for an operator and for a scrape, not for workers.
STANDING = """
WITH quiet AS (
    SELECT saga, count(*) AS n FROM (
        SELECT saga FROM {s}.saga_instance
        WHERE quiet_from <= statement_timestamp() AND finished_at IS NULL LIMIT :most) AS found GROUP BY saga
), dead AS (
    SELECT run.saga, count(*) AS n, min(found.dead_at) AS since FROM (
        SELECT instance_id, dead_at FROM {s}.saga_step WHERE dead_at IS NOT NULL ORDER BY dead_at LIMIT :most) AS found
    JOIN {s}.saga_instance AS run ON run.id = found.instance_id GROUP BY run.saga
), undelivered AS (
    SELECT coalesce(run.saga, found.choreography) AS saga, count(*) AS n, min(found.consumed_at) AS since FROM (
        SELECT instance_id, choreography, consumed_at FROM {s}.saga_inbox
        WHERE letter IS NOT NULL AND letter <> 'muted' AND acknowledged_at IS NULL LIMIT :most) AS found
    LEFT JOIN {s}.saga_instance AS run ON run.id = found.instance_id GROUP BY 1
), held AS (
    SELECT run.saga, count(*) AS n, min(found.created_at) AS since FROM (
        SELECT instance_id, created_at FROM {s}.saga_step
        WHERE finished_at IS NULL AND task IS NOT NULL AND status = 'held' LIMIT :most) AS found
    JOIN {s}.saga_instance AS run ON run.id = found.instance_id GROUP BY run.saga
), long AS (
    SELECT saga, count(*) AS n FROM {s}.saga_instance
    WHERE due_at IS NOT NULL AND numbered >= :many_events GROUP BY saga
)
SELECT known.saga AS choreography, coalesce(quiet.n, 0) AS quiet,
       coalesce(dead.n, 0) + coalesce(undelivered.n, 0) AS dead_letters,
       least(dead.since, undelivered.since) AS oldest_letter,
       coalesce(held.n, 0) AS held, held.since AS oldest_held, coalesce(long.n, 0) AS long_runs
FROM (SELECT DISTINCT saga FROM {s}.saga_definition WHERE plan IS NOT NULL) AS known
LEFT JOIN quiet USING (saga) LEFT JOIN dead USING (saga) LEFT JOIN undelivered USING (saga)
LEFT JOIN held USING (saga) LEFT JOIN long USING (saga)
ORDER BY known.saga
"""
