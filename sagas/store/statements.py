"""Named statements. ``{s}`` is the quoted schema. A hot one says its cost: round trips and fsyncs.

All stored times are ``clock_timestamp()``: ``now()`` is when the transaction began, and callers' transactions
are long. Conditions on indexed times use ``statement_timestamp()``, which an index scan can use.
"""

#: When an instance may no longer begin anything: its deadline, counted from its first claim if it was given in seconds,
#: and extended by the time of an outage (see `pardoned`), which the singleton row records.
DEADLINE = """
CASE WHEN instance.deadline IS NULL AND instance.deadline_seconds IS NULL THEN NULL ELSE (
    SELECT moved.deadline + CASE
        WHEN moved.deadline >= sweep.swept_at AND sweep.swept_at > '-infinity'
         AND sweep.swept_at < clock_timestamp() - %(outage)s::interval THEN clock_timestamp() - sweep.swept_at
        ELSE interval '0' END
    FROM {s}.saga_sweep AS sweep CROSS JOIN LATERAL (
        SELECT coalesce(instance.deadline, (
            SELECT min(begun.first_claimed_at) FROM {s}.saga_step AS begun WHERE begun.instance_id = instance.id
        ) + make_interval(secs => instance.deadline_seconds)) AS deadline
    ) AS given CROSS JOIN LATERAL (
        SELECT given.deadline + CASE WHEN given.deadline >= sweep.outage_from AND given.deadline < sweep.outage_until
                                     THEN sweep.outage_until - sweep.outage_from ELSE interval '0' END AS deadline
    ) AS moved)
END
"""

#: Whether the queue of a step (`head`) has a line: a single probe of a small index.
HAS_LINE = """
EXISTS (SELECT FROM {s}.saga_step AS ahead WHERE ahead.finished_at IS NULL AND ahead.task IS NOT NULL
          AND ahead.queue = head.queue AND ahead.line IS NOT NULL)
"""

#: Follows a test for another epoch: a crash may have lost the claim of a step that looks unclaimed, unless its claim
#: waits for the disk and no worker of a release that syncs no claims may have taken it.
UNLESS_SYNCED = """
AND NOT (synced_claim IS TRUE AND NOT EXISTS (SELECT FROM {s}.saga_worker WHERE NOT syncs_claims))
"""

# -- The hot path: driver-level parameters, since compiling bound names costs a quarter of a worker's CPU.

#: Takes an execution, which is then in `claimed`: a step (see `CLAIM`) or a delivery. Touches and tests its row alone;
#: the instance's row is only read. Safe to repeat with its token. A compensation that waits for its turn (neither
#: dispatched nor to be retried) must not be claimed; a row may only be claimed by its own task, and by a message with
#: the headers that its saga keeps. More conditions may stand between `TAKE` and `TAKEN`.
TAKE = (
    """
WITH epoch AS MATERIALIZED (SELECT max(epoch::text)::uuid AS current FROM {s}.saga_epoch),
claimed AS (
    UPDATE {s}.saga_step AS step
    SET status = 'running', token = %(token)s, worker_id = %(worker_id)s, delivery = %(delivery)s, line = NULL,
        attempts = attempts + (status = 'pending')::int, dispatches = 0, not_before = NULL,
        claimed_at = clock_timestamp(), first_claimed_at = coalesce(first_claimed_at, clock_timestamp()),
        doubt = doubt OR (round = 0 AND step.epoch IS DISTINCT FROM epoch.current """
    + UNLESS_SYNCED
    + """)
    FROM epoch
    WHERE instance_id = %(instance_id)s AND position = %(position)s AND branch = %(branch)s AND round = %(round)s
      AND step.task = %(task)s AND (status = 'pending' OR (status = 'running' AND token = %(token)s))
      AND (not_before IS NULL OR not_before < clock_timestamp() + %(countdown)s::interval)
      AND (round = 0 OR dispatched_at IS NOT NULL OR not_before IS NOT NULL)
"""
)
TAKEN = (
    """
      AND NOT EXISTS (SELECT FROM {s}.saga_worker WHERE id = %(worker_id)s AND dead_at IS NOT NULL)
      AND NOT EXISTS (SELECT FROM {s}.saga_instance AS told
                      WHERE told.id = step.instance_id AND told.headers ->> 'digest' <> coalesce(%(digest)s, ''))
    RETURNING step.*, step.epoch IS DISTINCT FROM epoch.current """
    + UNLESS_SYNCED
    + """ AS epoch_changed
),
unsynced AS MATERIALIZED (
    SELECT CASE WHEN synced_claim IS NOT TRUE THEN set_config('synchronous_commit', 'off', true)
                WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END
    FROM claimed
),
progress AS (
    INSERT INTO {s}.saga_queue AS seen (queue, claimed_sent)
    SELECT queue, %(sent)s::timestamptz FROM claimed WHERE %(sent)s::timestamptz IS NOT NULL AND queue IS NOT NULL
    ON CONFLICT (queue) DO UPDATE SET claimed_sent = greatest(seen.claimed_sent, excluded.claimed_sent)
)
"""
)

#: No action begins after the deadline of an instance that can still be stopped (see `is_overdue`): its pivot, if it has
#: one, is neither claimed nor in doubt.
BEFORE_DEADLINE = (
    """
      AND (round > 0 OR status = 'running' OR NOT EXISTS (
          SELECT FROM {s}.saga_instance AS instance
          WHERE instance.id = %(instance_id)s AND instance.status IN ('pending', 'running') AND """
    + DEADLINE
    + """ <= clock_timestamp() AND NOT EXISTS (
              SELECT FROM jsonb_array_elements(instance.plan -> 'steps') AS planned JOIN {s}.saga_step AS pivot
                ON planned ->> 'kind' = 'pivot' AND pivot.position = (planned ->> 'position')::int
              WHERE pivot.instance_id = instance.id AND pivot.round = 0
                AND (pivot.attempts > 0 OR pivot.doubt OR pivot.status NOT IN ('pending', 'failed')
                     OR (pivot.status = 'pending' AND pivot.epoch IS DISTINCT FROM epoch.current """
    + UNLESS_SYNCED
    + """)))))
"""
)

#: Takes a step. 1 round trip; no fsync, since the epoch finds a claim that a crash has lost, or 1 if it must not run
#: twice, whatever the default of the database is.
CLAIM = (
    TAKE
    + BEFORE_DEADLINE
    + TAKEN
    + """
SELECT claimed.attempts, claimed.forgiven, claimed.claimed_at, claimed.timeout, claimed.soft_timeout,
       claimed.epoch_changed, claimed.doubt, instance.saga, instance.plan_hash,
       CASE WHEN instance.plan_hash = ANY (%(known_plans)s) THEN NULL ELSE instance.plan::text END AS plan,
       instance.data::text AS data,
       coalesce("""
    + DEADLINE
    + """, claimed.first_claimed_at + make_interval(secs => instance.deadline_seconds)) AS deadline,
       (SELECT jsonb_agg(earlier.result ORDER BY earlier.position, earlier.branch)::text FROM {s}.saga_step AS earlier
        WHERE earlier.instance_id = claimed.instance_id AND earlier.round = 0 AND earlier.result IS NOT NULL
          AND (earlier.position < claimed.position OR (earlier.position = claimed.position
               AND earlier.lane = claimed.lane AND earlier.branch < claimed.branch))) AS earlier_results,
       (SELECT own.result::text FROM {s}.saga_step AS own
        WHERE claimed.round > 0 AND own.instance_id = claimed.instance_id AND own.position = claimed.position
          AND own.branch = claimed.branch AND own.round = 0) AS own_result,
       instance.headers::text AS headers
FROM claimed CROSS JOIN unsynced JOIN {s}.saga_instance AS instance ON instance.id = claimed.instance_id
"""
)

#: Records an action's result and gives birth to what follows, or ends the instance. 1 round trip, 1 fsync.
#: Guarded by the token alone; advances only if the instance is still going forward. The instance is locked first (the
#: one lock order), and `pending` and `written` are columns of that row: siblings are never read in here. What needs a
#: decision is handed over to the loop: due now, and still pending. The same holds for anything that would follow after
#: the deadline (see `is_overdue`); if nothing is left to do, the instance ends instead. If the saga has turned back, it
#: is due now too: it may have waited for this execution to end.
COMPLETE = (
    """
WITH instance AS (
    SELECT id, status, pending, written, %(may_stop)s AND coalesce("""
    + DEADLINE
    + """ <= clock_timestamp(), false) AS is_overdue
    FROM {s}.saga_instance AS instance WHERE id = %(instance_id)s FOR UPDATE
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
    RETURNING step.instance_id, step.queue, instance.status IN ('pending', 'running') AS forward,
              instance.status IN ('pending', 'running') AND (%(in_lane)s OR instance.pending = 1)
              AND (%(ends)s OR NOT instance.is_overdue) AS advances,
              instance.status IN ('pending', 'running') AND instance.is_overdue
              AND NOT (%(ends)s AND instance.pending = 1) AS is_late
),
moved AS (
    UPDATE {s}.saga_instance AS moving
    SET status = CASE WHEN done.advances AND %(ends)s THEN 'completed'
                      WHEN done.forward THEN 'running' ELSE moving.status END,
        pending = moving.pending - 1 + CASE WHEN done.advances THEN %(follow)s WHEN done.is_late THEN 1 ELSE 0 END,
        written = CASE WHEN done.advances AND NOT %(in_lane)s THEN NULL
                       WHEN %(written)s::jsonb IS NULL THEN moving.written
                       ELSE coalesce(moving.written, '{}') || %(written)s::jsonb END,
        due_at = CASE WHEN done.advances AND %(ends)s THEN NULL
                      WHEN done.is_late OR NOT done.forward OR (done.advances AND %(hands_over)s)
                      THEN clock_timestamp()
                      ELSE moving.due_at END,
        finished_at = CASE WHEN done.advances AND %(ends)s THEN clock_timestamp() END,
        updated_at = clock_timestamp()
    FROM done
    WHERE moving.id = done.instance_id
    RETURNING moving.status, moving.parent_id, done.queue, done.advances, done.is_late
),
born AS (
    INSERT INTO {s}.saga_step (instance_id, position, branch, round, lane, name, task, queue, timeout, soft_timeout,
                               synced_claim, epoch, line, dispatches)
    SELECT %(instance_id)s, %(next_position)s, head.branch, 0, head.lane, head.name, head.task, head.queue,
           head.timeout, head.soft_timeout, head.synced_claim, (SELECT epoch FROM {s}.saga_epoch), head.line,
           CASE WHEN head.line IS NULL THEN 1 ELSE 0 END
    FROM moved CROSS JOIN LATERAL (SELECT *, CASE WHEN queue IS DISTINCT FROM moved.queue AND """
    + HAS_LINE
    + """ THEN '' END AS line FROM unnest(%(branches)s::int[], %(lanes)s::int[], %(names)s::text[], %(tasks)s::text[],
                       %(queues)s::text[], %(timeouts)s::float8[], %(soft_timeouts)s::float8[],
                       %(synced_claims)s::boolean[])
                AS head (branch, lane, name, task, queue, timeout, soft_timeout, synced_claim)) AS head
    WHERE moved.advances
    RETURNING branch, line
),
freed AS (
    UPDATE {s}.saga_lock SET ended_at = clock_timestamp() FROM moved
    WHERE %(is_limited)s AND moved.status = 'completed' AND saga_lock.instance_id = %(instance_id)s
),
told AS (
    INSERT INTO {s}.saga_inbox (instance_id, kind)
    SELECT parent_id, 'child' FROM moved WHERE status = 'completed' AND parent_id IS NOT NULL
)
SELECT status, advances, parent_id, is_late,
       (SELECT array_agg(branch) FROM born WHERE line IS NOT NULL) AS in_line FROM moved
"""
)

#: "Mine and already completed" is success: the answer to a commit can be lost. 1 round trip, read-only.
OWN_TOKEN = """
SELECT instance.status, instance.parent_id
FROM {s}.saga_step AS step JOIN {s}.saga_instance AS instance ON instance.id = step.instance_id
WHERE step.instance_id = %(instance_id)s AND step.position = %(position)s AND step.branch = %(branch)s
  AND step.round = %(round)s AND step.token = %(token)s AND step.status IN ('completed', 'skipped')
"""

# -- Starting. 1 round trip, 1 fsync (the caller's own commit if it joins a transaction).
# JSON is sent as text: on the caller's connection a jsonb parameter may meet the caller's own encoder.

#: A saga that does not begin at once (see `Plan.begins_at_once`) has no step yet, and is due for a decision. If the
#: first step's queue has a line, it joins that; returns whether its message is to be sent now.
START = (
    """
WITH born AS (
    INSERT INTO {s}.saga_instance
        (id, saga, version, key, plan, plan_hash, data, headers, deadline, deadline_seconds, pending, due_at)
    VALUES (:id, :saga, :version, CAST(:key AS text), CAST(CAST(:plan AS text) AS jsonb), :plan_hash,
            CAST(CAST(:data AS text) AS jsonb), CAST(CAST(:headers AS text) AS jsonb),
            CAST(:deadline AS timestamptz), CAST(:deadline_seconds AS double precision),
            cardinality(CAST(:branches AS int[])),
            CASE WHEN cardinality(CAST(:branches AS int[])) > 0
                 THEN least(clock_timestamp() + CAST(:silence AS interval), CAST(:deadline AS timestamptz),
                            clock_timestamp() + make_interval(secs => CAST(:deadline_seconds AS double precision)))
                 ELSE clock_timestamp() END)
    ON CONFLICT (saga, key) WHERE current AND key IS NOT NULL DO NOTHING
    RETURNING id
), waiting AS (
    SELECT EXISTS (SELECT FROM unnest(CAST(:queues AS text[])) AS head (queue) WHERE """
    + HAS_LINE
    + """) AS is_there
), step AS (
    INSERT INTO {s}.saga_step (instance_id, position, branch, round, lane, name, task, queue, timeout, soft_timeout,
                               synced_claim, epoch, line, dispatches)
    SELECT born.id, 0, head.branch, 0, head.lane, head.name, head.task, head.queue, head.timeout, head.soft_timeout,
           head.synced_claim, (SELECT epoch FROM {s}.saga_epoch),
           CASE WHEN waiting.is_there THEN CAST(:line AS text) END, CASE WHEN waiting.is_there THEN 0 ELSE 1 END
    FROM born CROSS JOIN waiting,
         unnest(CAST(:branches AS int[]), CAST(:lanes AS int[]), CAST(:names AS text[]), CAST(:tasks AS text[]),
                CAST(:queues AS text[]), CAST(:timeouts AS float8[]), CAST(:soft_timeouts AS float8[]),
                CAST(:synced_claims AS boolean[]))
               AS head (branch, lane, name, task, queue, timeout, soft_timeout, synced_claim)
), line AS (
    INSERT INTO {s}.saga_lock (resource, instance_id, capacity, lasting)
    SELECT wanted.resource, born.id, wanted.capacity, wanted.lasting
    FROM born, unnest(CAST(:resources AS text[]), CAST(:capacities AS int[]), CAST(:lasting AS boolean[]))
               AS wanted (resource, capacity, lasting)
)
SELECT NOT waiting.is_there FROM born CROSS JOIN waiting
"""
)

FIND_CURRENT = "SELECT id FROM {s}.saga_instance WHERE saga = :saga AND key = :key AND current"

#: The key of an instance that was undone is free for a new start. A failed one may still go on.
RETIRE_ENDED = """
UPDATE {s}.saga_instance SET current = false
WHERE saga = :saga AND key = :key AND current AND status = 'compensated'
RETURNING id
"""

#: In the caller's transaction: limit the wait for a key that another transaction holds, and return the old setting.
LIMIT_LOCK_WAIT = "SELECT current_setting('lock_timeout'), set_config('lock_timeout', :wait, true)"
RESTORE_LOCK_WAIT = "SELECT set_config('lock_timeout', :wait, true)"

#: Whether the transaction has written or locked anything; one that has only read need not be committed.
HAS_WRITTEN = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL"

#: Which database this is, however it is reached: through a pooler, by an alias, on a socket.
WHERE_AM_I = "SELECT current_database() || ' since ' || extract(epoch FROM pg_postmaster_start_time())"

#: For a message sent by a process that has not seen its instance's row: the parent of a pool process that died.
HEADERS = "SELECT headers::text AS headers FROM {s}.saga_instance WHERE id = :id"

#: The data of an instance and its steps' results: all of them, or those before a place, as a step there sees them.
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
