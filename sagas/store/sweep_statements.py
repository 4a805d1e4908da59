"""The named statements of the sweep and of liveness (see `statements` for their manners)."""

from sagas.store.statements import HOLDER, OVERTAKEN

# -- The sweep

#: A pile of sweep messages returns at once. Gives the moment of the sweep before.
BEGIN_SWEEP = """
UPDATE {s}.saga_sweep AS this SET swept_at = clock_timestamp()
FROM (SELECT swept_at FROM {s}.saga_sweep FOR UPDATE) AS former
WHERE this.singleton AND (:forced OR former.swept_at < clock_timestamp() - CAST(:interval AS interval)
                          OR former.swept_at > clock_timestamp())  -- the clock went back
RETURNING former.swept_at < clock_timestamp() - CAST(:outage AS interval) AS after_outage
"""

KEEP_EPOCH = "INSERT INTO {s}.saga_epoch DEFAULT VALUES ON CONFLICT DO NOTHING"

SUSPECT_SILENT_WORKERS = """
UPDATE {s}.saga_worker SET suspected_at = clock_timestamp()
WHERE dead_at IS NULL AND stopped_at IS NULL AND heartbeat_at < clock_timestamp() - CAST(:silence AS interval)
  AND (suspected_at IS NULL OR :again)
"""

#: Second stage: still silent a lease after the suspicion. Death is final; such a worker registers anew.
#: Not if the database was away since this pass began.
DECLARE_DEAD_WORKERS = """
UPDATE {s}.saga_worker SET dead_at = clock_timestamp()
WHERE dead_at IS NULL AND stopped_at IS NULL AND heartbeat_at < suspected_at
  AND suspected_at < clock_timestamp() - CAST(:lease AS interval)
  AND EXISTS (SELECT FROM {s}.saga_sweep WHERE swept_at > clock_timestamp() - CAST(:outage AS interval))
RETURNING id, hostname, pid
"""

FORGET_OLD_WORKERS = """
DELETE FROM {s}.saga_worker WHERE coalesce(stopped_at, dead_at) < clock_timestamp() - interval '7 days'
"""

#: Healthy and merely not finished: held by the living within its time, or queued without evidence of a loss.
#: One statement for all of them; only steps longer than a lease and backlogs pay.
PUSH_HEALTHY = (
    """
WITH healthy AS (
    SELECT instance.id, look.at FROM {s}.saga_instance AS instance
    CROSS JOIN LATERAL (
        SELECT min(CASE WHEN step.task IS NULL THEN coalesce(step.not_before, clock_timestamp() + interval '1 hour')
                        WHEN step.status = 'running' THEN clock_timestamp() + CAST(:lease AS interval)
                        ELSE clock_timestamp() + least(greatest(clock_timestamp() - step.dispatched_at,
                             CAST(:lease AS interval)), interval '60 seconds') END) AS at,
               count(*) = instance.pending  -- else somebody has to decide what follows
               AND bool_and(CASE WHEN step.task IS NULL THEN coalesce(step.not_before, '-infinity') > clock_timestamp()
                             WHEN step.status = 'running'
                             THEN """
    + HOLDER
    + """ = 'alive' AND step.claimed_at + make_interval(secs => step.timeout) > clock_timestamp()
                             ELSE step.dispatched_at IS NOT NULL AND step.not_before IS NULL
                                  AND step.dispatched_at + interval '60 seconds' > clock_timestamp()
                                  AND NOT """
    + OVERTAKEN
    + """ END) AS is_healthy
        FROM {s}.saga_step AS step LEFT JOIN {s}.saga_worker AS worker ON worker.id = step.worker_id
        WHERE step.instance_id = instance.id AND step.status IN ('pending', 'running')
    ) AS look
    WHERE instance.due_at <= statement_timestamp() AND look.is_healthy AND instance.stop IS NULL
      AND (instance.deadline IS NULL OR instance.deadline > look.at) AND instance.deadline_seconds IS NULL
    FOR UPDATE OF instance SKIP LOCKED
)
UPDATE {s}.saga_instance AS instance SET due_at = healthy.at FROM healthy WHERE instance.id = healthy.id
"""
)

#: Due, or held by the dead: a step that queued for long leaves its instance's next look up to 60 s away.
PICK_DUE = (
    """
SELECT instance.id FROM {s}.saga_instance AS instance
WHERE instance.due_at <= statement_timestamp() + greatest(CAST(:lease AS interval), interval '60 seconds')
  AND (instance.due_at <= statement_timestamp() OR EXISTS (
    SELECT FROM {s}.saga_step AS step JOIN {s}.saga_worker AS worker ON worker.id = step.worker_id
    WHERE step.instance_id = instance.id AND step.status = 'running' AND """
    + HOLDER
    + """ IN ('dead', 'silent')))
ORDER BY instance.due_at LIMIT :limit
"""
)

#: One bad instance backs off alone, twice as long each time, with an event that says why.
BACK_OFF = """
WITH noted AS (
    INSERT INTO {s}.saga_event (instance_id, event, detail)
    SELECT id, 'sweep_failed', CAST(:detail AS jsonb) FROM {s}.saga_instance WHERE id = :id
    RETURNING instance_id
)
UPDATE {s}.saga_instance AS instance
SET due_at = clock_timestamp() + least(interval '10 minutes', CAST(:lease AS interval) * power(2, least(10,
        (SELECT count(*) FROM {s}.saga_event WHERE instance_id = :id AND event = 'sweep_failed'))))
FROM noted WHERE instance.id = noted.instance_id AND instance.due_at IS NOT NULL
"""

#: For tests, where nobody waits: what is unclaimed is to be sent again, as if nothing were on its way, and whoever
#: sleeps is to wake up. A wait for a signal is no waste of time.
HASTEN = """
WITH instance AS (
    SELECT id FROM {s}.saga_instance WHERE id = :id AND due_at IS NOT NULL FOR UPDATE
)
UPDATE {s}.saga_step AS step SET dispatched_at = NULL, not_before = NULL FROM instance
WHERE step.instance_id = instance.id AND step.status = 'pending'
  AND (step.task IS NOT NULL OR step.name = ANY (CAST(:sleeping AS text[])))
"""

# -- Who is alive

#: Two statements a beat: the moment before the deliveries are listed, then the list.
CLOCK = "SELECT clock_timestamp()"

#: A heartbeat clears suspicion; a worker that was declared dead gets no row back and registers anew. It takes along
#: what the worker should stop, again and again for as long as that runs.
HEARTBEAT = """
INSERT INTO {s}.saga_worker AS worker (id, hostname, pid, queues, deliveries, listed_at, idle_at)
VALUES (:id, :hostname, :pid, :queues, :deliveries, :listed_at,
        CASE WHEN :idle THEN CAST(:listed_at AS timestamptz) END)
ON CONFLICT (id) DO UPDATE SET heartbeat_at = clock_timestamp(), deliveries = excluded.deliveries,
    queues = excluded.queues, listed_at = excluded.listed_at, idle_at = coalesce(excluded.idle_at, worker.idle_at),
    suspected_at = NULL,
    to_stop = ARRAY(SELECT unnest(worker.to_stop) INTERSECT SELECT unnest(excluded.deliveries))
WHERE worker.dead_at IS NULL
RETURNING to_stop
"""

#: Only a hint: a worker that never hears of it lets the step finish.
STOP_RUNNING = """
UPDATE {s}.saga_worker AS worker SET to_stop = array_append(worker.to_stop, step.delivery)
FROM {s}.saga_step AS step
WHERE step.instance_id = :id AND step.position = :position AND step.branch = :branch AND step.round = 0
  AND step.status = 'running' AND step.delivery IS NOT NULL AND worker.id = step.worker_id
"""

SAY_GOODBYE = "UPDATE {s}.saga_worker SET stopped_at = clock_timestamp(), deliveries = '{}' WHERE id = :id"
