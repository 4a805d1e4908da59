"""The hot statement of choreographed runs (see `statements` for their conventions, and `run_statements` for others)."""

#: Completes a delivery: it numbers the events that the handler returned, gives birth to their deliveries, and releases
#: the next one of its own handler. `decide_run` compiled to SQL, for a run in which nothing else is to be decided: one
#: that goes forward, without a dead letter, a closed handler, an event that waits for its number or a passed deadline,
#: and that has something left to do, or is over. Of any other run it returns no row, and changes nothing.
#: After the run's lock, in the same round trip: a statement that waited for a lock would see everything else as it was
#: before. 1 round trip, 1 fsync. It reads open deliveries of its own handler and of those that get an event, no others.
COMPLETE_DELIVERY = """
WITH run AS MATERIALIZED (
    SELECT id, status, pending, numbered, ended_by FROM {s}.saga_instance AS run
    WHERE id = %(instance_id)s AND status IN ('pending', 'running') AND turned_at IS NULL AND closed = '{}'
      AND numbered > 0 AND numbered + %(published)s <= %(max_events)s AND (ended_by IS NULL OR %(published)s = 0)
      AND deadline_seconds IS NULL AND (deadline IS NULL OR deadline > clock_timestamp())
      AND NOT EXISTS (SELECT FROM {s}.saga_inbox AS mail
                      WHERE mail.instance_id = run.id AND mail.consumed_at IS NULL)
      AND NOT EXISTS (SELECT FROM {s}.saga_step AS letter
                      WHERE letter.instance_id = run.id AND letter.dead_at IS NOT NULL)
),
following AS MATERIALIZED (
    SELECT held.position FROM run JOIN {s}.saga_step AS held ON held.instance_id = run.id
    WHERE %(is_ordered)s AND held.branch = %(branch)s AND held.event_id IS NOT NULL AND held.finished_at IS NULL
      AND held.status = 'held'
    ORDER BY held.position LIMIT 1
),
head AS MATERIALIZED (
    SELECT head.*, NOT head.is_ordered OR (head.is_next AND NOT EXISTS (
        SELECT FROM {s}.saga_step AS ahead
        WHERE ahead.instance_id = run.id AND ahead.branch = head.branch AND ahead.event_id IS NOT NULL
          AND ahead.finished_at IS NULL AND ahead.round = 0
          AND (ahead.position, ahead.branch) <> (%(position)s, %(branch)s))) AS is_free
    FROM run, unnest(%(born_events)s::int[], %(is_ordereds)s::boolean[], %(is_nexts)s::boolean[], %(branches)s::int[],
                     %(lanes)s::int[], %(names)s::text[], %(tasks)s::text[], %(queues)s::text[],
                     %(timeouts)s::float8[], %(soft_timeouts)s::float8[], %(synced_claims)s::boolean[])
              AS head (event, is_ordered, is_next, branch, lane, name, task, queue, timeout, soft_timeout,
                       synced_claim)
),
going AS MATERIALIZED (
    SELECT *, is_last AND remaining = 0 AS is_over FROM (
        SELECT run.*, %(ends)s OR run.ended_by IS NOT NULL AS is_last,
               run.pending - 1 + (SELECT count(*) FROM following)::int
               + (SELECT count(*) FROM head WHERE is_free)::int AS remaining
        FROM run) AS run
    WHERE remaining > 0 OR (is_last AND NOT EXISTS (
        SELECT FROM {s}.saga_step AS other
        WHERE other.instance_id = run.id AND other.event_id IS NOT NULL AND other.finished_at IS NULL
          AND (other.position, other.branch) <> (%(position)s, %(branch)s)))
),
done AS (
    UPDATE {s}.saga_step AS step
    SET status = 'completed', finished_at = clock_timestamp(), error = NULL, doubt = false
    FROM going
    WHERE step.instance_id = going.id AND step.position = %(position)s AND step.branch = %(branch)s AND step.round = 0
      AND step.token = %(token)s AND step.status = 'running'
    RETURNING going.*
),
moved AS (
    UPDATE {s}.saga_instance AS moving
    SET status = CASE WHEN done.is_over THEN 'completed' ELSE 'running' END, pending = done.remaining,
        numbered = done.numbered + %(published)s, error = NULL,
        ended_by = CASE WHEN %(ends)s THEN done.numbered + %(published)s ELSE done.ended_by END,
        due_at = CASE WHEN NOT done.is_over THEN moving.due_at END, quiet_from = NULL,
        finished_at = CASE WHEN done.is_over THEN clock_timestamp() END, updated_at = clock_timestamp()
    FROM done WHERE moving.id = done.id
),
given AS (
    INSERT INTO {s}.saga_inbox (instance_id, kind, name, payload, sent_by, event_id, version, cause, depth, number,
                                seen_at, consumed_at)
    SELECT done.id, 'event', event.type, event.payload::jsonb, %(by)s, event.id::uuid, event.version, %(position)s,
           %(depth)s, done.numbered + event.number, clock_timestamp(), clock_timestamp()
    FROM done, unnest(%(types)s::text[], %(payloads)s::text[], %(event_ids)s::text[], %(versions)s::int[])
               WITH ORDINALITY AS event (type, payload, id, version, number)
    ORDER BY event.number
),
born AS (
    INSERT INTO {s}.saga_step (instance_id, position, branch, round, lane, name, task, queue, timeout, soft_timeout,
                               synced_claim, event_id, status, dispatches, dispatched_at, epoch)
    SELECT done.id, done.numbered + head.event, head.branch, 0, head.lane, head.name, head.task, head.queue,
           head.timeout, head.soft_timeout, head.synced_claim, (%(event_ids)s::text[])[head.event]::uuid,
           CASE WHEN head.is_free THEN 'pending' ELSE 'held' END, head.is_free::int,
           CASE WHEN head.is_free THEN clock_timestamp() END,
           CASE WHEN head.is_free THEN (SELECT epoch FROM {s}.saga_epoch) END
    FROM done, head
),
released AS (
    UPDATE {s}.saga_step AS held
    SET status = 'pending', dispatches = dispatches + 1, dispatched_at = clock_timestamp(), line = NULL,
        epoch = (SELECT epoch FROM {s}.saga_epoch)
    FROM done, following
    WHERE held.instance_id = done.id AND held.position = following.position AND held.branch = %(branch)s
      AND held.round = 0
    RETURNING held.position, held.timeout, held.soft_timeout
)
SELECT done.status, CASE WHEN done.is_over THEN 'completed' ELSE 'running' END,
       (SELECT array_agg(ARRAY[done.numbered + event, branch] ORDER BY event, branch) FROM head WHERE is_free),
       released.*
FROM done LEFT JOIN released ON true
"""
