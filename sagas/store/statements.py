"""The named statements. ``{s}`` is the quoted schema. A hot one says its cost: round trips and fsyncs.

All stored times are ``clock_timestamp()``: ``now()`` is when the transaction began, and callers' transactions
are long. Conditions on indexed times use ``statement_timestamp()``, which an index scan can use.
"""

# -- The hot path: driver-level parameters, since compiling bound names costs a quarter of a worker's CPU.

#: Takes an execution. 1 round trip, 0 fsyncs: a claim that a crash loses is found by its epoch.
#: Touches and tests the step's row alone; the instance's row is only read. Safe to repeat with its own token.
#: A compensation that waits for its turn (neither dispatched nor to be retried) is not for the taking, and nothing
#: is for another task than its own.
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
      AND step.task = %(task)s AND (status = 'pending' OR (status = 'running' AND token = %(token)s))
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
        WHERE earlier.instance_id = claimed.instance_id AND earlier.round = 0 AND earlier.result IS NOT NULL
          AND (earlier.position < claimed.position OR (earlier.position = claimed.position
               AND earlier.lane = claimed.lane AND earlier.branch < claimed.branch))) AS earlier_results,
       (SELECT own.result::text FROM {s}.saga_step AS own
        WHERE claimed.round > 0 AND own.instance_id = claimed.instance_id AND own.position = claimed.position
          AND own.branch = claimed.branch AND own.round = 0) AS own_result
FROM claimed JOIN {s}.saga_instance AS instance ON instance.id = claimed.instance_id
"""

#: Records an action's result and gives birth to what follows, or ends the instance. 1 round trip, 1 fsync.
#: Guarded by the token alone; advances only if the instance is still going forward. The instance is locked
#: first (the one lock order), and `pending` and `written` are columns of that row: siblings are never read in here.
#: Where somebody has to decide what follows, it is handed over to the loop: due now, and still pending.
COMPLETE = """
WITH instance AS (
    SELECT id, status, pending, written FROM {s}.saga_instance WHERE id = %(instance_id)s FOR UPDATE
),
done AS (
    UPDATE {s}.saga_step AS step
    SET status = %(status)s, result = %(result)s::jsonb, finished_at = clock_timestamp(), error = NULL,
        doubt = doubt AND %(not_run)s = 1, attempts = attempts - %(not_run)s
    FROM instance
    WHERE step.instance_id = instance.id AND step.position = %(position)s AND step.branch = %(branch)s
      AND step.round = 0 AND step.token = %(token)s AND step.status = 'running'
      AND NOT EXISTS (SELECT FROM jsonb_each_text(instance.written) AS other
                      WHERE other.key = ANY (%(keys)s::text[]) AND NOT other.value::int = ANY (%(own_lane)s::int[]))
    RETURNING step.instance_id, instance.status IN ('pending', 'running') AS forward,
              instance.status IN ('pending', 'running') AND (%(in_lane)s OR instance.pending = 1) AS advances
),
moved AS (
    UPDATE {s}.saga_instance AS moving
    SET status = CASE WHEN done.advances AND %(ends)s THEN 'completed'
                      WHEN done.forward THEN 'running' ELSE moving.status END,
        pending = moving.pending - 1 + CASE WHEN done.advances THEN %(follow)s ELSE 0 END,
        written = CASE WHEN done.advances AND NOT %(in_lane)s THEN NULL
                       WHEN %(written)s::jsonb IS NULL THEN moving.written
                       ELSE coalesce(moving.written, '{}') || %(written)s::jsonb END,
        due_at = CASE WHEN done.advances AND %(ends)s THEN NULL
                      WHEN done.advances AND %(hands_over)s THEN clock_timestamp()
                      WHEN moving.due_at BETWEEN clock_timestamp() + %(half_lease)s AND clock_timestamp() + %(lease)s
                      THEN moving.due_at
                      WHEN done.advances AND NOT %(in_lane)s THEN clock_timestamp() + %(lease)s
                      ELSE least(moving.due_at, clock_timestamp() + %(lease)s) END,  -- beside others, who may sleep
        finished_at = CASE WHEN done.advances AND %(ends)s THEN clock_timestamp() END,
        updated_at = clock_timestamp()
    FROM done
    WHERE moving.id = done.instance_id
    RETURNING moving.status, moving.parent_id, done.advances
),
born AS (
    INSERT INTO {s}.saga_step (instance_id, position, branch, round, lane, name, task, queue, timeout, epoch)
    SELECT %(instance_id)s, %(next_position)s, head.branch, 0, head.lane, head.name, head.task, head.queue,
           head.timeout, (SELECT epoch FROM {s}.saga_epoch)
    FROM moved, unnest(%(branches)s::int[], %(lanes)s::int[], %(names)s::text[], %(tasks)s::text[],
                       %(queues)s::text[], %(timeouts)s::float8[]) AS head (branch, lane, name, task, queue, timeout)
    WHERE moved.advances
),
freed AS (
    UPDATE {s}.saga_lock SET ended_at = clock_timestamp() FROM moved
    WHERE %(is_limited)s AND moved.status = 'completed' AND saga_lock.instance_id = %(instance_id)s
),
told AS (
    INSERT INTO {s}.saga_inbox (instance_id, kind)
    SELECT parent_id, 'child' FROM moved WHERE status = 'completed' AND parent_id IS NOT NULL
)
SELECT status, advances, parent_id FROM moved
"""

#: "Mine and completed already" is success: the answer to a commit can be lost. 1 round trip, read-only.
OWN_TOKEN = """
SELECT instance.status, instance.parent_id
FROM {s}.saga_step AS step JOIN {s}.saga_instance AS instance ON instance.id = step.instance_id
WHERE step.instance_id = %(instance_id)s AND step.position = %(position)s AND step.branch = %(branch)s
  AND step.round = %(round)s AND step.token = %(token)s AND step.status IN ('completed', 'skipped')
"""

# -- Starting. 1 round trip, 1 fsync (the caller's own commit when it joins a transaction).
# JSON goes as text: on the caller's connection a parameter that is jsonb may meet an encoder of the caller's.

#: What does not begin at once (see `Plan.begins_at_once`) has no step yet, and is due for whoever decides.
START = """
WITH born AS (
    INSERT INTO {s}.saga_instance
        (id, saga, version, key, plan, plan_hash, data, deadline, deadline_seconds, pending, due_at)
    VALUES (:id, :saga, :version, CAST(:key AS text), CAST(CAST(:plan AS text) AS jsonb), :plan_hash,
            CAST(CAST(:data AS text) AS jsonb),
            CAST(:deadline AS timestamptz), CAST(:deadline_seconds AS double precision),
            cardinality(CAST(:branches AS int[])),
            clock_timestamp() + CASE WHEN cardinality(CAST(:branches AS int[])) > 0 THEN CAST(:lease AS interval)
                                     ELSE interval '0' END)
    ON CONFLICT (saga, key) WHERE current AND key IS NOT NULL DO NOTHING
    RETURNING id
), step AS (
    INSERT INTO {s}.saga_step (instance_id, position, branch, round, lane, name, task, queue, timeout, epoch)
    SELECT born.id, 0, head.branch, 0, head.lane, head.name, head.task, head.queue, head.timeout,
           (SELECT epoch FROM {s}.saga_epoch)
    FROM born, unnest(CAST(:branches AS int[]), CAST(:lanes AS int[]), CAST(:names AS text[]), CAST(:tasks AS text[]),
                      CAST(:queues AS text[]), CAST(:timeouts AS float8[]))
               AS head (branch, lane, name, task, queue, timeout)
), line AS (
    INSERT INTO {s}.saga_lock (resource, instance_id, capacity, lasting)
    SELECT wanted.resource, born.id, wanted.capacity, wanted.lasting
    FROM born, unnest(CAST(:resources AS text[]), CAST(:capacities AS int[]), CAST(:lasting AS boolean[]))
               AS wanted (resource, capacity, lasting)
)
SELECT id FROM born
"""

FIND_CURRENT = "SELECT id FROM {s}.saga_instance WHERE saga = :saga AND key = :key AND current"

#: The key of an instance that was undone, or that a person gave up, is free for whoever wants to start anew.
RETIRE_ENDED = """
UPDATE {s}.saga_instance SET current = false
WHERE saga = :saga AND key = :key AND current AND status IN ('compensated', 'failed')
RETURNING id
"""

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
SELECT id, saga, key, status, plan_hash, error, stop, deadline, deadline_seconds, due_at, pending, written, parent_id,
       finished_at, clock_timestamp() AS now
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

#: A third statement: its neighbours, as they are once the instance is locked.
LOAD_NEIGHBOURS = """
SELECT (SELECT jsonb_agg(jsonb_build_object('id', mail.id, 'kind', mail.kind, 'name', mail.name,
                                            'payload', mail.payload, 'by', mail.sent_by) ORDER BY mail.id)
        FROM {s}.saga_inbox AS mail WHERE mail.instance_id = :id AND mail.consumed_at IS NULL) AS inbox,
       (SELECT jsonb_agg(jsonb_build_object('id', child.id, 'status', child.status, 'error', child.error,
            'results', CASE WHEN child.status = 'completed' AND EXISTS (
                SELECT FROM {s}.saga_step AS own WHERE own.instance_id = :id AND own.round = 0
                  AND own.status = 'pending' AND own.task IS NULL) THEN (
                SELECT jsonb_agg(done.result ORDER BY done.position, done.branch) FROM {s}.saga_step AS done
                WHERE done.instance_id = child.id AND done.round = 0 AND done.result IS NOT NULL) END))
        FROM {s}.saga_instance AS child WHERE :has_children AND child.parent_id = :id) AS children,
       :is_limited AND EXISTS (SELECT FROM {s}.saga_lock WHERE instance_id = :id AND granted_at IS NULL) AS awaits_lock
"""

#: The data of an instance and what its steps returned: all of them, or those before a place, as a step there sees it.
DATA_AND_RESULTS = """
SELECT instance.data::text,
       (SELECT jsonb_agg(step.result ORDER BY step.position, step.branch)::text FROM {s}.saga_step AS step
        WHERE step.instance_id = instance.id AND step.round = 0 AND step.result IS NOT NULL
          AND (CAST(:position AS int) IS NULL OR step.position < :position
               OR (step.position = :position AND step.lane = :lane AND step.branch < :branch)))
FROM {s}.saga_instance AS instance WHERE instance.id = :id
"""

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
