"""The named statements. ``{s}`` is the quoted schema. A hot one says its cost: round trips and fsyncs.

All stored times are ``clock_timestamp()``: ``now()`` is when the transaction began, and callers' transactions
are long. Conditions on indexed times use ``statement_timestamp()``, which an index scan can use.
"""

# -- The hot path: driver-level parameters, since compiling bound names costs a quarter of a worker's CPU.

#: Takes an execution. 1 round trip, 0 fsyncs: a claim that a crash loses is found by its epoch.
#: Touches and tests the step's row alone; the instance's row is only read. Safe to repeat with its own token.
#: A compensation that waits for its turn (neither dispatched nor to be retried) is not for the taking.
CLAIM = """
WITH unsynced AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
epoch AS MATERIALIZED (SELECT max(epoch::text)::uuid AS current FROM {s}.saga_epoch),
claimed AS (
    UPDATE {s}.saga_step AS step
    SET status = 'running', token = %(token)s, worker_id = %(worker_id)s, delivery = %(delivery)s,
        attempts = attempts + (status = 'pending')::int, dispatches = 0, not_before = NULL,
        claimed_at = clock_timestamp(), first_claimed_at = coalesce(first_claimed_at, clock_timestamp()),
        doubt = doubt OR (round = 0 AND step.epoch IS DISTINCT FROM epoch.current)
    FROM unsynced, epoch
    WHERE instance_id = %(instance_id)s AND position = %(position)s AND branch = %(branch)s AND round = %(round)s
      AND (status = 'pending' OR (status = 'running' AND token = %(token)s))
      AND (not_before IS NULL OR not_before < clock_timestamp() + interval '5 seconds')
      AND (round = 0 OR dispatched_at IS NOT NULL OR not_before IS NOT NULL)
      AND NOT EXISTS (SELECT FROM {s}.saga_worker WHERE id = %(worker_id)s AND dead_at IS NOT NULL)
    RETURNING step.*, step.epoch IS DISTINCT FROM epoch.current AS epoch_changed
),
progress AS (
    INSERT INTO {s}.saga_queue AS seen (queue, claimed_born)
    SELECT queue, created_at FROM claimed WHERE %(report)s AND queue IS NOT NULL
    ON CONFLICT (queue) DO UPDATE SET claimed_born = greatest(seen.claimed_born, excluded.claimed_born)
)
SELECT claimed.attempts, claimed.claimed_at, claimed.epoch_changed, claimed.doubt,
       instance.saga, instance.plan_hash,
       CASE WHEN instance.plan_hash = ANY (%(known_plans)s) THEN NULL ELSE instance.plan::text END AS plan,
       instance.data::text AS data,
       CASE WHEN instance.deadline_seconds IS NULL THEN instance.deadline
            ELSE (SELECT least(min(begun.first_claimed_at), claimed.first_claimed_at) FROM {s}.saga_step AS begun
                  WHERE begun.instance_id = claimed.instance_id) + make_interval(secs => instance.deadline_seconds)
       END AS deadline,
       (SELECT jsonb_agg(earlier.result ORDER BY earlier.position, earlier.branch)::text FROM {s}.saga_step AS earlier
        WHERE earlier.instance_id = claimed.instance_id AND earlier.round = 0 AND earlier.position < claimed.position
          AND earlier.result IS NOT NULL) AS earlier_results,
       (SELECT own.result::text FROM {s}.saga_step AS own
        WHERE claimed.round > 0 AND own.instance_id = claimed.instance_id AND own.position = claimed.position
          AND own.branch = claimed.branch AND own.round = 0) AS own_result
FROM claimed JOIN {s}.saga_instance AS instance ON instance.id = claimed.instance_id
"""

#: Records an action's result and gives birth to the next step, or ends the instance. 1 round trip, 1 fsync.
#: Guarded by the token alone; advances only if the instance is still going forward. The instance is locked
#: first (the one lock order), and `pending` is a column of that row: siblings are never counted in here.
COMPLETE = """
WITH instance AS (
    SELECT id, status, pending FROM {s}.saga_instance WHERE id = %(instance_id)s FOR UPDATE
),
done AS (
    UPDATE {s}.saga_step AS step
    SET status = 'completed', result = %(result)s::jsonb, finished_at = clock_timestamp(), doubt = false, error = NULL
    FROM instance
    WHERE step.instance_id = instance.id AND step.position = %(position)s AND step.branch = %(branch)s
      AND step.round = 0 AND step.token = %(token)s AND step.status = 'running'
    RETURNING step.instance_id, instance.status IN ('pending', 'running') AND instance.pending = 1 AS advances,
              instance.status IN ('pending', 'running') AS forward
),
moved AS (
    UPDATE {s}.saga_instance AS moving
    SET status = CASE WHEN done.advances AND %(next_position)s::int IS NULL THEN 'completed'
                      WHEN done.forward THEN 'running' ELSE moving.status END,
        pending = CASE WHEN done.advances AND %(next_position)s::int IS NOT NULL THEN 1 ELSE moving.pending - 1 END,
        due_at = CASE WHEN done.advances AND %(next_position)s::int IS NULL THEN NULL
                      WHEN moving.due_at BETWEEN clock_timestamp() + %(half_lease)s AND clock_timestamp() + %(lease)s
                      THEN moving.due_at ELSE clock_timestamp() + %(lease)s END,
        finished_at = CASE WHEN done.advances AND %(next_position)s::int IS NULL THEN clock_timestamp() END,
        updated_at = clock_timestamp()
    FROM done
    WHERE moving.id = done.instance_id
    RETURNING moving.status, done.advances
),
born AS (
    INSERT INTO {s}.saga_step (instance_id, position, branch, round, name, queue, timeout, epoch)
    SELECT %(instance_id)s, %(next_position)s, %(next_branch)s, 0, %(next_name)s, %(next_queue)s, %(next_timeout)s,
           (SELECT epoch FROM {s}.saga_epoch)
    FROM moved WHERE moved.advances AND %(next_position)s::int IS NOT NULL
)
SELECT status FROM moved
"""

#: "Mine and completed already" is success: the answer to a commit can be lost. 1 round trip, read-only.
OWN_TOKEN = """
SELECT instance.status FROM {s}.saga_step AS step JOIN {s}.saga_instance AS instance ON instance.id = step.instance_id
WHERE step.instance_id = %(instance_id)s AND step.position = %(position)s AND step.branch = %(branch)s
  AND step.round = %(round)s AND step.token = %(token)s AND step.status = 'completed'
"""

# -- Starting. 1 round trip, 1 fsync (the caller's own commit when it joins a transaction).
# JSON goes as text: on the caller's connection a parameter that is jsonb may meet an encoder of the caller's.

START = """
WITH born AS (
    INSERT INTO {s}.saga_instance
        (id, saga, version, key, plan, plan_hash, data, deadline, deadline_seconds, due_at)
    VALUES (:id, :saga, :version, CAST(:key AS text), CAST(CAST(:plan AS text) AS jsonb), :plan_hash,
            CAST(CAST(:data AS text) AS jsonb),
            CAST(:deadline AS timestamptz), CAST(:deadline_seconds AS double precision),
            clock_timestamp() + CAST(:lease AS interval))
    ON CONFLICT (saga, key) WHERE current AND key IS NOT NULL DO NOTHING
    RETURNING id
), step AS (
    INSERT INTO {s}.saga_step (instance_id, position, branch, round, name, queue, timeout, epoch)
    SELECT born.id, :position, :branch, 0, :name, CAST(:queue AS text), :timeout, (SELECT epoch FROM {s}.saga_epoch)
    FROM born
)
SELECT id FROM born
"""

FIND_CURRENT = "SELECT id FROM {s}.saga_instance WHERE saga = :saga AND key = :key AND current"

#: In the caller's transaction: wait for a key that another one holds only so long, and say what was set before.
LIMIT_LOCK_WAIT = "SELECT current_setting('lock_timeout'), set_config('lock_timeout', :wait, true)"
RESTORE_LOCK_WAIT = "SELECT set_config('lock_timeout', :wait, true)"

#: Whether the transaction has written or locked anything; one that has only read need not be committed.
HAS_WRITTEN = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL"

#: Which database this is, however it is reached: through a pooler, by an alias, on a socket.
WHERE_AM_I = "SELECT current_database() || ' since ' || extract(epoch FROM pg_postmaster_start_time())"

#: Nothing left the process for this row: the next sweep sends it.
UNSENT = """
WITH instance AS (
    SELECT id FROM {s}.saga_instance WHERE id = :id AND due_at IS NOT NULL FOR UPDATE
), step AS (
    UPDATE {s}.saga_step SET dispatched_at = NULL, dispatches = greatest(dispatches - 1, 0) FROM instance
    WHERE instance_id = instance.id AND position = :position AND branch = :branch AND round = :round
      AND status = 'pending'
)
UPDATE {s}.saga_instance SET due_at = clock_timestamp() FROM instance WHERE saga_instance.id = instance.id
"""

#: What the evidence says of a claim's holder (see `Holder`).
HOLDER = """
CASE WHEN step.status <> 'running' THEN 'none'
     WHEN step.worker_id IS NULL THEN 'alive'
     WHEN worker.id IS NULL THEN
        CASE WHEN step.claimed_at < clock_timestamp() - 4 * CAST(:lease AS interval) THEN 'silent' ELSE 'alive' END
     WHEN worker.stopped_at IS NOT NULL
       OR (step.claimed_at < worker.listed_at AND NOT (step.delivery = ANY (worker.deliveries))) THEN 'dead'
     WHEN worker.dead_at IS NOT NULL THEN 'silent'
     ELSE 'alive' END
"""

#: Evidence, not time: a later step of its queue was claimed, or a worker that consumes the queue sits idle.
#: Doubles with every dispatch, so that a message which nobody can take does not become a storm.
OVERTAKEN = """
(step.status = 'pending' AND step.dispatched_at IS NOT NULL AND (
    EXISTS (SELECT FROM {s}.saga_queue AS seen WHERE seen.queue = step.queue
            AND seen.claimed_born > step.dispatched_at
                + CAST(:lease AS interval) * power(2, least(greatest(step.dispatches, 1), 9) - 1) / 2)
    OR EXISTS (SELECT FROM {s}.saga_worker AS idle WHERE step.queue = ANY (idle.queues)
               AND idle.dead_at IS NULL AND idle.suspected_at IS NULL AND idle.stopped_at IS NULL
               AND idle.idle_at > step.dispatched_at
                   + CAST(:lease AS interval) * power(2, least(greatest(step.dispatches, 1), 9) - 1))))
"""

LOAD_INSTANCE = """
SELECT id, saga, key, status, plan_hash, error, stop, deadline, deadline_seconds, due_at, pending, finished_at,
       clock_timestamp() AS now
FROM {s}.saga_instance WHERE id = :id FOR UPDATE
"""
LOAD_INSTANCE_IF_FREE = LOAD_INSTANCE.rstrip() + " SKIP LOCKED"

#: A second statement, after the instance's lock: one that waited would still read its old snapshot.
LOAD_STEPS = (
    """
SELECT step.position, step.branch, step.round, step.name, step.status, step.token, step.attempts, step.losses,
       step.doubt, step.stray, step.dispatches, step.dispatched_at, step.not_before, step.claimed_at,
       step.first_claimed_at, step.finished_at, step.error,
       """
    + HOLDER
    + """ AS holder,
       """
    + OVERTAKEN
    + """ AS overtaken,
       step.status = 'pending' AND step.epoch IS DISTINCT FROM (SELECT epoch FROM {s}.saga_epoch) AS epoch_changed,
       clock_timestamp() AS now
FROM {s}.saga_step AS step LEFT JOIN {s}.saga_worker AS worker ON worker.id = step.worker_id
WHERE step.instance_id = :id ORDER BY step.position, step.branch, step.round FOR UPDATE OF step
"""
)

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
        SELECT min(CASE WHEN step.status = 'running' THEN clock_timestamp() + CAST(:lease AS interval)
                        ELSE clock_timestamp() + least(greatest(clock_timestamp() - step.dispatched_at,
                             CAST(:lease AS interval)), interval '60 seconds') END) AS at,
               bool_and(CASE WHEN step.status = 'running'
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

#: For tests, where nobody waits: what is unclaimed is to be sent again, as if nothing were on its way.
HASTEN = """
WITH instance AS (
    SELECT id FROM {s}.saga_instance WHERE id = :id AND due_at IS NOT NULL FOR UPDATE
)
UPDATE {s}.saga_step SET dispatched_at = NULL, not_before = NULL FROM instance
WHERE instance_id = instance.id AND status = 'pending'
"""

# -- Who is alive

#: Two statements a beat: the moment before the deliveries are listed, then the list.
CLOCK = "SELECT clock_timestamp()"

#: A heartbeat clears suspicion; a worker that was declared dead gets no row back and registers anew.
HEARTBEAT = """
INSERT INTO {s}.saga_worker AS worker (id, hostname, pid, queues, deliveries, listed_at, idle_at)
VALUES (:id, :hostname, :pid, :queues, :deliveries, :listed_at, 
        CASE WHEN :idle THEN CAST(:listed_at AS timestamptz) END)
ON CONFLICT (id) DO UPDATE SET heartbeat_at = clock_timestamp(), deliveries = excluded.deliveries,
    queues = excluded.queues, listed_at = excluded.listed_at, idle_at = coalesce(excluded.idle_at, worker.idle_at),
    suspected_at = NULL
WHERE worker.dead_at IS NULL
RETURNING id
"""

SAY_GOODBYE = "UPDATE {s}.saga_worker SET stopped_at = clock_timestamp(), deliveries = '{}' WHERE id = :id"

# -- Definitions

#: The first plan of a version wins while instances of it are in flight.
REGISTER_PLAN = """
INSERT INTO {s}.saga_definition AS known (saga, version, plan_hash) VALUES (:saga, :version, :plan_hash)
ON CONFLICT (saga, version) DO UPDATE SET plan_hash = excluded.plan_hash, registered_at = clock_timestamp()
WHERE known.plan_hash = excluded.plan_hash OR NOT EXISTS (
    SELECT FROM {s}.saga_instance AS instance
    WHERE instance.saga = :saga AND instance.version = :version AND instance.due_at IS NOT NULL)
RETURNING plan_hash
"""

COUNT_IN_FLIGHT = """
SELECT count(*) FROM {s}.saga_instance WHERE saga = :saga AND version = :version AND due_at IS NOT NULL
"""
