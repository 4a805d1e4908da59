"""Named statements about the workers of a schema (see `statements` for their conventions)."""

from sagas.store.line_statements import UNCLAIMED

#: A worker's description of itself in its row, written once for each of its ids.
INTRODUCE_WORKER = """
UPDATE {s}.saga_worker SET app = :app, control_queue = :control_queue, broker = :broker, plans = CAST(:plans AS jsonb)
WHERE id = :id
"""

#: Executions that could be claimed, but wait in a queue that no living worker consumes. For one instance, or for all.
UNHEARD = """
SELECT waiting.queue, count(*) AS steps, min(waiting.since) AS since, min(waiting.name) AS step
FROM (SELECT queue, name, coalesce(dispatched_at, created_at) AS since FROM {s}.saga_step
      WHERE {unclaimed} AND queue IS NOT NULL AND parked_since IS NULL
        AND (not_before IS NULL OR not_before <= clock_timestamp())
        AND (CAST(:id AS uuid) IS NULL OR instance_id = :id) LIMIT 10000) AS waiting
WHERE waiting.since < clock_timestamp() - CAST(:lease AS interval)
  AND NOT EXISTS (SELECT FROM {s}.saga_worker AS worker
                  WHERE waiting.queue = ANY (worker.queues) AND worker.dead_at IS NULL AND worker.stopped_at IS NULL
                    AND worker.heartbeat_at > clock_timestamp() - CAST(:lease AS interval))
GROUP BY waiting.queue ORDER BY waiting.queue
""".replace("{unclaimed}", UNCLAIMED)

#: Executions that no worker could call so far, and why.
PARKED = """
SELECT instance.saga, step.name, step.round > 0 AS is_undo, step.error ->> 'message' AS message, count(*) AS steps,
       min(step.parked_since) AS since
FROM {s}.saga_step AS step JOIN {s}.saga_instance AS instance ON instance.id = step.instance_id
WHERE step.finished_at IS NULL AND step.task IS NOT NULL AND step.status = 'pending' AND step.parked_since IS NOT NULL
GROUP BY 1, 2, 3, 4 ORDER BY since LIMIT 50
"""

#: A worker begins, perhaps with newer code: what none could call is sent again at once. Instances that are locked are
#: left to the usual wait. One look at all unclaimed executions, once in a worker's life.
UNPARK = """
WITH waiting AS MATERIALIZED (
    SELECT id FROM {s}.saga_instance
    WHERE due_at IS NOT NULL AND id IN (
        SELECT instance_id FROM {s}.saga_step
        WHERE finished_at IS NULL AND task IS NOT NULL AND status = 'pending' AND parked_since IS NOT NULL
          AND not_before > clock_timestamp())
    ORDER BY id FOR UPDATE SKIP LOCKED
),
unparked AS (
    UPDATE {s}.saga_step AS step SET not_before = clock_timestamp() FROM waiting
    WHERE step.instance_id = waiting.id AND step.finished_at IS NULL AND step.status = 'pending'
      AND step.parked_since IS NOT NULL
)
UPDATE {s}.saga_instance AS instance SET due_at = clock_timestamp() FROM waiting WHERE instance.id = waiting.id
"""

WORKERS_ALIVE = """
SELECT id, hostname, pid, app, control_queue, broker, plans FROM {s}.saga_worker
WHERE dead_at IS NULL AND stopped_at IS NULL AND heartbeat_at > clock_timestamp() - CAST(:lease AS interval)
ORDER BY hostname, pid
"""

#: A copy of a database has the same row, but another name.
WHERE_HOME_IS = "SELECT home, current_database() AS database FROM {s}.saga_sweep"
