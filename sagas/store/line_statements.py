"""Named statements of the line: steps that wait to be sent, and the sender (see `statements` for their conventions).

A step stands in its queue's line from the moment it is to be sent until its message is sent. Only the holder of the
lease sends from there, and each statement that gives out steps tests that it still holds it.
"""

#: The rows in the index of live steps, without the running ones.
UNCLAIMED = "finished_at IS NULL AND task IS NOT NULL AND status = 'pending'"

#: The line of its queue that a step stands in: steps of begun sagas, and their undos, go first; first steps go in turn
#: between sagas and priorities.
LINE_OF = """
CASE WHEN step.position = 0 AND step.round = 0 AND step.attempts = 0
     THEN coalesce(instance.plan ->> 'priority', '') || ':' || instance.saga ELSE '' END
"""

LEASE_HELD = """
EXISTS (SELECT FROM {s}.saga_lease WHERE name = :lease_name AND holder = :me AND until > clock_timestamp())
"""

#: Taken if it has expired, or ends absurdly late because the clock was set back. No worker queues for it.
TAKE_LEASE = """
WITH free AS (
    SELECT name FROM {s}.saga_lease WHERE name = :lease_name
       AND (holder = :me OR until <= clock_timestamp() OR until > clock_timestamp() + 10 * CAST(:hold AS interval))
    FOR UPDATE SKIP LOCKED
), first AS (
    INSERT INTO {s}.saga_lease (name, holder, until)
    SELECT :lease_name, :me, clock_timestamp() + CAST(:hold AS interval)
    WHERE NOT EXISTS (SELECT FROM {s}.saga_lease WHERE name = :lease_name)
    ON CONFLICT (name) DO NOTHING RETURNING name
), taken AS (
    UPDATE {s}.saga_lease AS lease SET holder = :me, until = clock_timestamp() + CAST(:hold AS interval)
    FROM free WHERE lease.name = free.name RETURNING lease.name
)
SELECT EXISTS (SELECT FROM first) OR EXISTS (SELECT FROM taken)
"""

GIVE_LEASE_BACK = "DELETE FROM {s}.saga_lease WHERE name = :lease_name AND holder = :me"

#: Each queue that has unclaimed steps and a line: its sent messages, its consumers, and what they keep back.
LOOK_AT_QUEUES = """
WITH RECURSIVE queues AS (
    (SELECT queue FROM {s}.saga_step WHERE {unclaimed} AND queue IS NOT NULL
     ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT queue FROM {s}.saga_step WHERE {unclaimed} AND queue > queues.queue
            ORDER BY queue LIMIT 1)
    FROM queues WHERE queues.queue IS NOT NULL
)
SELECT queues.queue, sent.out, sent.tasks, consumers.slots, consumers.kept,
       greatest(seen.claimed_sent, consumers.idle_at - CAST(:lease AS interval)) AS taken_until
FROM queues LEFT JOIN {s}.saga_queue AS seen ON seen.queue = queues.queue
CROSS JOIN LATERAL (
    SELECT count(*) AS out, coalesce(array_agg(DISTINCT task), '{}') AS tasks
    FROM (SELECT task FROM {s}.saga_step WHERE {unclaimed}
            AND queue = queues.queue AND line IS NULL AND dispatched_at IS NOT NULL
            AND (not_before IS NULL OR not_before <= clock_timestamp()) LIMIT :most) AS step
) AS sent
CROSS JOIN LATERAL (
    SELECT coalesce(sum(slots), 0) AS slots, coalesce(sum(cardinality(kept)), 0) AS kept,
           max(least(idle_at, clock_timestamp())) AS idle_at
    FROM {s}.saga_worker AS worker
    WHERE queues.queue = ANY (worker.queues) AND worker.dead_at IS NULL AND worker.stopped_at IS NULL
      AND worker.suspected_at IS NULL
) AS consumers
WHERE queues.queue IS NOT NULL AND EXISTS (SELECT FROM {s}.saga_step
    WHERE {unclaimed} AND queue = queues.queue AND line IS NOT NULL)
LIMIT 500
""".replace("{unclaimed}", UNCLAIMED)

#: The next in a queue's line: first marked as sent, then published. Locked ones are left for the next time, so this
#: never waits. If publishing fails they are put back; if the process dies, evidence of the loss puts them back.
FILL = (
    """
WITH RECURSIVE lines AS (
    (SELECT line FROM {s}.saga_step WHERE {unclaimed} AND queue = :queue
        AND line IS NOT NULL ORDER BY line LIMIT 1)
    UNION ALL
    SELECT (SELECT line FROM {s}.saga_step WHERE {unclaimed} AND queue = :queue
            AND line > lines.line ORDER BY line LIMIT 1)
    FROM lines WHERE lines.line IS NOT NULL
), turns AS (
    SELECT step.instance_id, step.position, step.branch, step.round, step.line,
           row_number() OVER (PARTITION BY lines.line ORDER BY step.created_at) AS turn, step.created_at
    FROM lines CROSS JOIN LATERAL (
        SELECT * FROM {s}.saga_step WHERE {unclaimed} AND queue = :queue
           AND line = lines.line AND (not_before IS NULL OR not_before <= clock_timestamp())
        ORDER BY created_at LIMIT :limit
    ) AS step
), next AS (
    SELECT step.instance_id, step.position, step.branch, step.round
    FROM (SELECT * FROM turns ORDER BY line <> '', turn, created_at LIMIT :limit) AS turn
    JOIN {s}.saga_step AS step USING (instance_id, position, branch, round)
    WHERE step.status = 'pending' AND step.line IS NOT NULL
    FOR UPDATE OF step SKIP LOCKED
)
UPDATE {s}.saga_step AS step
SET line = NULL, dispatched_at = clock_timestamp(), dispatches = dispatches + 1
FROM next JOIN {s}.saga_instance AS instance ON instance.id = next.instance_id
WHERE step.instance_id = next.instance_id AND step.position = next.position AND step.branch = next.branch
  AND step.round = next.round AND """
    + LEASE_HELD
    + """
RETURNING step.instance_id, step.position, step.branch, step.round, step.timeout, step.soft_timeout,
          step.dispatched_at, instance.plan_hash, instance.headers::text AS headers,
          CASE WHEN instance.plan_hash = ANY (CAST(:known_plans AS text[])) THEN NULL ELSE instance.plan::text END
          AS plan
"""
).replace("{unclaimed}", UNCLAIMED)

#: A message that was not sent: its step returns to its place in the line.
PUT_BACK = (
    """
UPDATE {s}.saga_step AS step SET line = """
    + LINE_OF
    + """, dispatches = greatest(step.dispatches - 1, 0)
FROM {s}.saga_instance AS instance
WHERE instance.id = :id AND step.instance_id = :id AND step.position = :position AND step.branch = :branch
  AND step.round = :round AND step.status = 'pending' AND step.line IS NULL AND step.dispatched_at IS NOT NULL
"""
)

#: By evidence, not by time: a message of its queue that was sent later has been claimed, or a worker that consumes the
#: queue was idle for a whole heartbeat. For steps with a priority, which others may overtake, only the latter proves a
#: loss. A message that a living worker keeps back is not lost. From its third loss on, a step needs ever younger
#: evidence, so that a message dropped by every worker does not become a storm.
PUT_LOST_BACK = (
    """
WITH evidence AS (
    SELECT queue, max(idle) - CAST(:lease AS interval) AS idle, max(claimed) - CAST(:lease AS interval) AS claimed
    FROM (
        SELECT queue, CAST(NULL AS timestamptz) AS idle, claimed_sent AS claimed FROM {s}.saga_queue
        UNION ALL
        SELECT unnest(queues), least(idle_at, clock_timestamp()), NULL FROM {s}.saga_worker
        WHERE idle_at IS NOT NULL AND dead_at IS NULL AND suspected_at IS NULL AND stopped_at IS NULL
    ) AS seen
    WHERE coalesce(idle, claimed) > coalesce((SELECT outage_until FROM {s}.saga_sweep), '-infinity')
    GROUP BY queue
), lost AS (
    SELECT found.* FROM evidence CROSS JOIN LATERAL (
        SELECT instance_id, position, branch, round FROM {s}.saga_step AS step
        WHERE {unclaimed} AND queue = evidence.queue AND line IS NULL
          AND created_at < greatest(evidence.idle, evidence.claimed)
          AND (not_before IS NULL OR not_before <= clock_timestamp())
          AND dispatched_at < CASE WHEN EXISTS (SELECT FROM {s}.saga_instance
                                                WHERE id = step.instance_id AND plan ->> 'priority' IS NOT NULL)
                                   THEN evidence.idle ELSE greatest(evidence.idle, evidence.claimed) END
              - CAST(:lease AS interval) * (power(2, least(greatest(dispatches - 2, 0), 9)) - 1)
          AND NOT EXISTS (SELECT FROM {s}.saga_worker AS keeper
                          WHERE keeper.dead_at IS NULL AND keeper.stopped_at IS NULL
                            AND step.instance_id || ' ' || step.position || '.' || step.branch || '.' || step.round
                                = ANY (keeper.kept))
        ORDER BY line, created_at LIMIT :limit FOR UPDATE OF step SKIP LOCKED  -- the order of the index
    ) AS found
)
UPDATE {s}.saga_step AS step SET line = """
    + LINE_OF
    + """
FROM lost JOIN {s}.saga_instance AS instance ON instance.id = lost.instance_id
WHERE step.instance_id = lost.instance_id AND step.position = lost.position AND step.branch = lost.branch
  AND step.round = lost.round AND step.status = 'pending' AND step.line IS NULL AND """
    + LEASE_HELD
    + " RETURNING step.queue"
).replace("{unclaimed}", UNCLAIMED)
