"""Named statements of plain wakes (see `waking`, and `statements` for their conventions)."""

#: The first of two: the second decides on what it reads once the instances are locked. Locked ones are not waited for.
LOCK_DUE = """
SELECT id, plan_hash FROM {s}.saga_instance WHERE due_at <= statement_timestamp() ORDER BY due_at LIMIT :limit
FOR UPDATE SKIP LOCKED
"""

#: Ends the sleeps that are over and gives birth to the next steps, and begins the retries whose time has come: the
#: answer of `decide` to a `Tick` if there is nothing else to answer. That is the case if the only live execution waits
#: for time alone, all others are done, the deadline is ahead, no mail is unseen and no lock is awaited. All of these
#: steps join the lines.
WAKE_PLAIN = """
WITH head AS (
    SELECT * FROM unnest(CAST(:plans AS text[]), CAST(:after AS int[]), CAST(:branches AS int[]),
                         CAST(:lanes AS int[]), CAST(:names AS text[]), CAST(:tasks AS text[]),
                         CAST(:queues AS text[]), CAST(:timeouts AS float8[]), CAST(:soft_timeouts AS float8[]),
                         CAST(:synced_claims AS boolean[]))
           AS head (plan_hash, after, branch, lane, name, task, queue, timeout, soft_timeout, synced_claim)
), plain AS (
    SELECT due.number, instance.id, instance.plan_hash, instance.status, step.position, step.branch,
           step.task IS NULL AS slept
    FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS due (id, number)
    JOIN {s}.saga_instance AS instance ON instance.id = due.id
    JOIN {s}.saga_step AS step ON step.instance_id = instance.id
    WHERE instance.status IN ('pending', 'running') AND instance.stop IS NULL AND instance.deadline_seconds IS NULL
      AND (instance.deadline IS NULL OR instance.deadline > clock_timestamp())
      AND step.round = 0 AND step.status = 'pending' AND step.dispatched_at IS NULL
      AND step.not_before <= clock_timestamp()
      AND CASE WHEN step.task IS NULL
               THEN EXISTS (SELECT FROM head WHERE head.plan_hash = instance.plan_hash AND head.after = step.position)
               ELSE step.epoch IS NOT DISTINCT FROM (SELECT epoch FROM {s}.saga_epoch) END
      AND NOT EXISTS (SELECT FROM {s}.saga_step AS other WHERE other.instance_id = instance.id
                        AND (other.position, other.branch, other.round) <> (step.position, step.branch, step.round)
                        AND (other.position >= step.position OR other.status NOT IN ('completed', 'skipped')))
      AND NOT EXISTS (SELECT FROM {s}.saga_inbox AS mail WHERE mail.instance_id = instance.id
                        AND mail.consumed_at IS NULL AND mail.seen_at IS NULL)
      AND NOT EXISTS (SELECT FROM {s}.saga_lock AS awaited
                      WHERE awaited.instance_id = instance.id AND awaited.granted_at IS NULL)
    FOR UPDATE OF step SKIP LOCKED
), woken AS (
    UPDATE {s}.saga_step AS step
    SET status = CASE WHEN plain.slept THEN 'completed' ELSE 'pending' END,
        finished_at = CASE WHEN plain.slept THEN clock_timestamp() END,
        error = CASE WHEN NOT plain.slept THEN step.error END,
        dispatched_at = CASE WHEN NOT plain.slept THEN clock_timestamp() END,
        line = CASE WHEN NOT plain.slept THEN '' END
    FROM plain
    WHERE step.instance_id = plain.id AND step.position = plain.position AND step.branch = plain.branch
      AND step.round = 0
    RETURNING plain.*
), born AS (
    INSERT INTO {s}.saga_step (instance_id, position, branch, round, lane, name, task, queue, timeout, soft_timeout,
                               synced_claim, epoch, line, dispatches)
    SELECT woken.id, woken.position + 1, head.branch, 0, head.lane, head.name, head.task, head.queue, head.timeout,
           head.soft_timeout, head.synced_claim, (SELECT epoch FROM {s}.saga_epoch), '', 0
    FROM woken JOIN head ON head.plan_hash = woken.plan_hash AND head.after = woken.position
    WHERE woken.slept ORDER BY woken.number, head.branch
), moved AS (
    UPDATE {s}.saga_instance AS instance
    SET status = CASE WHEN woken.slept THEN 'running' ELSE instance.status END,
        pending = CASE WHEN NOT woken.slept THEN 1 ELSE (
            SELECT count(*) FROM head WHERE head.plan_hash = woken.plan_hash AND head.after = woken.position) END,
        written = CASE WHEN NOT woken.slept THEN instance.written END,
        due_at = least(clock_timestamp() + CAST(:silence AS interval), instance.deadline),
        updated_at = clock_timestamp()
    FROM woken WHERE instance.id = woken.id
)
SELECT id, plan_hash, slept AND status = 'pending' AS has_begun FROM woken ORDER BY number
"""
