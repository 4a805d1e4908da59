"""Named statements of the sweep and of liveness (see `statements` for their conventions)."""

from sagas.store.handler_statements import HAS_ALARMS
from sagas.store.letter_statements import IS_EARLY_TOO_LONG
from sagas.store.loop_statements import HOLDER

# -- The sweep

#: Whether a worker's timer has just looked around: one plain read, for beat's messages.
IS_SWEPT = (
    "SELECT swept_at BETWEEN clock_timestamp() - CAST(:lately AS interval) AND clock_timestamp() FROM {s}.saga_sweep"
)

#: The beginning of each pass, which waits for no lock and holds none when it is over. Notes an outage (no worker began
#: a pass for so long) and silent workers; returns what there is to do, and whether this is the fleet's first pass for a
#: while. After an outage all workers are silent, so suspicions begin again.
LOOK_AROUND = (
    """
WITH former AS MATERIALIZED (
    SELECT swept_at, swept_at > '-infinity' AND swept_at < clock_timestamp() - CAST(:outage AS interval) AS is_long_ago
    FROM {s}.saga_sweep WHERE swept_at < clock_timestamp() - CAST(:often AS interval)
       OR swept_at > clock_timestamp()  -- the clock went back
    FOR UPDATE SKIP LOCKED
), swept AS (
    UPDATE {s}.saga_sweep AS this SET swept_at = clock_timestamp(),
        outage_from = CASE WHEN former.is_long_ago THEN former.swept_at ELSE this.outage_from END,
        outage_until = CASE WHEN former.is_long_ago THEN clock_timestamp() ELSE this.outage_until END
    FROM former WHERE this.singleton
    RETURNING former.swept_at < clock_timestamp() - CAST(:outage AS interval) AS after_outage
), epoch AS (
    INSERT INTO {s}.saga_epoch SELECT WHERE NOT EXISTS (SELECT FROM {s}.saga_epoch) ON CONFLICT DO NOTHING
), suspected AS (
    UPDATE {s}.saga_worker SET suspected_at = clock_timestamp()
    WHERE dead_at IS NULL AND stopped_at IS NULL AND heartbeat_at < clock_timestamp() - CAST(:silence AS interval)
      AND (suspected_at IS NULL OR (SELECT after_outage FROM swept))
)
SELECT EXISTS (SELECT FROM swept) AS is_first, """
    + IS_EARLY_TOO_LONG
    + """ AS has_early, """
    + HAS_ALARMS
    + """ AS has_alarms,
       EXISTS (SELECT FROM {s}.saga_worker WHERE (dead_at IS NULL AND stopped_at IS NULL AND suspected_at IS NOT NULL)
               OR coalesce(stopped_at, dead_at) < clock_timestamp() - interval '7 days') AS has_silent,
       EXISTS (SELECT FROM {s}.saga_lock WHERE ended_at IS NOT NULL) AS has_ended_holders,
       EXISTS (SELECT FROM {s}.saga_inbox WHERE seen_at IS NULL) AS has_unseen,
       EXISTS (SELECT FROM {s}.saga_instance WHERE due_at <= statement_timestamp()) AS has_due
"""
)

#: Not after an outage, which the next pass has to note.
GO_ON = """
UPDATE {s}.saga_sweep SET swept_at = clock_timestamp()
WHERE swept_at BETWEEN clock_timestamp() - CAST(:outage AS interval) AND clock_timestamp()
"""

#: Second stage: still silent a lease after the suspicion. Death is final; such a worker registers again. Not if the
#: database was away since this pass began.
DECLARE_DEAD_WORKERS = """
UPDATE {s}.saga_worker SET dead_at = clock_timestamp()
WHERE dead_at IS NULL AND stopped_at IS NULL AND heartbeat_at < suspected_at
  AND suspected_at < clock_timestamp() - CAST(:lease AS interval)
  AND EXISTS (SELECT FROM {s}.saga_sweep WHERE swept_at > clock_timestamp() - CAST(:outage AS interval))
RETURNING id, hostname, pid
"""

FORGET_OLD_WORKERS = """
DELETE FROM {s}.saga_worker WHERE id IN (
    SELECT id FROM {s}.saga_worker WHERE coalesce(stopped_at, dead_at) < clock_timestamp() - interval '7 days'
    LIMIT 500)
"""

#: Executions that need a look: held by a dead worker, or over their time. A silent holder is looked at once after its
#: death, and when the execution's time is over. An instance that has changed since counts as looked at; but a sibling
#: that completes changes it, too. So what a look would run again (each undo, and an action that may run twice) is
#: looked at for as long as the silent worker holds it. Reads running executions, no line.
PICK_LOST = (
    """
SELECT DISTINCT step.instance_id FROM {s}.saga_step AS step
JOIN {s}.saga_instance AS instance ON instance.id = step.instance_id
LEFT JOIN {s}.saga_worker AS worker ON worker.id = step.worker_id
CROSS JOIN LATERAL (SELECT """
    + HOLDER
    + """ AS holder,
        -- In seconds: a time or timeout edited by hand may not be a valid interval, and this is one statement for all.
        CAST(extract(epoch FROM step.claimed_at) AS float8) AS claimed,
        CAST(extract(epoch FROM worker.dead_at) AS float8) AS died,
        CAST(extract(epoch FROM instance.updated_at) AS float8) AS changed,
        CAST(extract(epoch FROM clock_timestamp()) AS float8) AS now,
        CAST(extract(epoch FROM CAST(:lease AS interval)) AS float8) AS lease
) AS seen
WHERE step.finished_at IS NULL AND step.task IS NOT NULL AND step.line IS NULL AND step.status = 'running'
  AND instance.unreadable_at IS NULL  -- it is tried again when it is due, and each try adds to its history
  AND (seen.claimed + step.timeout + :grace < seen.now
       OR seen.holder = 'dead' OR (seen.holder = 'silent' AND (
           seen.changed < coalesce(seen.died, seen.claimed + 4 * seen.lease) OR step.round > 0
           OR (step.synced_claim IS NOT TRUE AND instance.status IN ('pending', 'running')
               AND seen.changed < seen.now - seen.lease))))
LIMIT :limit
"""
)

#: Due instances, longest overdue first; for a lease they are this worker's. No worker waits for another.
TAKE_DUE = """
WITH due AS (
    SELECT id FROM {s}.saga_instance WHERE due_at <= statement_timestamp() ORDER BY due_at LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
UPDATE {s}.saga_instance AS instance SET due_at = clock_timestamp() + CAST(:lease AS interval)
FROM due WHERE instance.id = due.id RETURNING instance.id
"""

#: An instance that raises backs off alone, twice as long each time, with an event that says why.
BACK_OFF = """
WITH noted AS (
    INSERT INTO {s}.saga_event (instance_id, event, detail)
    SELECT id, 'sweep_failed', CAST(:detail AS jsonb) FROM {s}.saga_instance WHERE id = :id
    RETURNING instance_id
)
UPDATE {s}.saga_instance AS instance
SET unreadable_at = CASE WHEN :is_unreadable THEN coalesce(unreadable_at, clock_timestamp()) END,
    due_at = clock_timestamp() + least(interval '10 minutes', CAST(:lease AS interval) * power(2, least(10,
        (SELECT count(*) FROM {s}.saga_event WHERE instance_id = :id AND event = 'sweep_failed'))))
FROM noted WHERE instance.id = noted.instance_id AND instance.due_at IS NOT NULL
"""

#: For tests, which do not wait: unclaimed executions are to be sent again, as if no message were on its way, and
#: sleeping ones are to wake up. A wait for a signal is not cut short.
HASTEN = """
WITH instance AS (
    SELECT id FROM {s}.saga_instance WHERE id = :id AND due_at IS NOT NULL FOR UPDATE
)
UPDATE {s}.saga_step AS step SET dispatched_at = NULL, not_before = NULL, line = NULL FROM instance
WHERE step.instance_id = instance.id AND step.status = 'pending'
  AND (step.task IS NOT NULL OR step.name = ANY (CAST(:sleeping AS text[])))
"""

# -- Liveness

#: Two statements per beat: the moment before the deliveries are listed, then the list.
CLOCK = "SELECT clock_timestamp()"

#: A heartbeat clears suspicion; a worker that was declared dead gets no row back and registers again. It returns the
#: deliveries that the worker should stop, again and again for as long as they run.
HEARTBEAT = """
INSERT INTO {s}.saga_worker AS worker (id, hostname, pid, release, queues, slots, deliveries, kept, listed_at, idle_at,
                                      syncs_claims)
VALUES (:id, :hostname, :pid, :release, :queues, :slots, :deliveries, :kept, :listed_at,
        CASE WHEN :idle THEN CAST(:listed_at AS timestamptz) END, true)
ON CONFLICT (id) DO UPDATE SET heartbeat_at = clock_timestamp(), deliveries = excluded.deliveries,
    queues = excluded.queues, slots = excluded.slots, kept = excluded.kept, listed_at = excluded.listed_at,
    idle_at = CASE WHEN worker.queues = excluded.queues THEN coalesce(excluded.idle_at, worker.idle_at) END,
    suspected_at = NULL,
    to_stop = ARRAY(SELECT unnest(worker.to_stop) INTERSECT SELECT unnest(excluded.deliveries))
WHERE worker.dead_at IS NULL
RETURNING to_stop
"""

#: Workers that are alive and run another release than this one, or do not say which.
OF_OTHER_RELEASES = """
SELECT hostname, pid, release FROM {s}.saga_worker
WHERE dead_at IS NULL AND stopped_at IS NULL AND heartbeat_at > clock_timestamp() - CAST(:lease AS interval)
  AND release IS DISTINCT FROM :release
ORDER BY hostname, pid
"""

#: Only says that the worker is alive: its executions are not listed by this.
PULSE = """
UPDATE {s}.saga_worker SET heartbeat_at = clock_timestamp(), suspected_at = NULL
WHERE id = :id AND dead_at IS NULL AND stopped_at IS NULL
"""

#: Only a hint: a worker that never hears of it lets the step finish.
STOP_RUNNING = """
UPDATE {s}.saga_worker AS worker SET to_stop = array_append(worker.to_stop, step.delivery)
FROM {s}.saga_step AS step
WHERE step.instance_id = :id AND step.position = :position AND step.branch = :branch AND step.round = 0
  AND step.status = 'running' AND step.delivery IS NOT NULL AND worker.id = step.worker_id
"""

SAY_GOODBYE = "UPDATE {s}.saga_worker SET stopped_at = clock_timestamp(), deliveries = '{}' WHERE id = :id"
