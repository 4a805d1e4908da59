"""Named statements of the loop: one instance is locked, loaded and saved, in three round trips with its commit."""

from sagas.store import step_columns
from sagas.store.statements import HAS_LINE, UNLESS_SYNCED

LOCK_INSTANCE = "SELECT id FROM {s}.saga_instance WHERE id = :id FOR UPDATE"
LOCK_INSTANCE_IF_FREE = LOCK_INSTANCE + " SKIP LOCKED"

#: The evidence about a claim's holder (see `Holder`).
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

#: Executions of an instance, with the evidence about them.
_EXECUTIONS = (
    """
    SELECT step.position, step.branch, step.round, step.name, step.timeout, step.soft_timeout, step.delivery, step.task,
           step.event_id, worker.hostname, """
    + step_columns.AS_LOADED
    + """,
           """
    + HOLDER
    + """ AS holder,
           step.status = 'pending' AND step.epoch IS DISTINCT FROM (SELECT epoch FROM {s}.saga_epoch) """
    + UNLESS_SYNCED
    + """ AS epoch_changed
    FROM {s}.saga_step AS step LEFT JOIN {s}.saga_worker AS worker ON worker.id = step.worker_id
    WHERE step.instance_id = :id"""
)
_LOCKED = "ORDER BY step.position, step.branch, step.round FOR UPDATE OF step"

#: An instance with its executions, which it locks, its neighbours and the evidence: a row for each execution, and one
#: without any if there are none. After `LOCK_INSTANCE`, in the same round trip: a statement that waited for a lock
#: would see everything else as it was before. Large columns come once, in the first row. Of a choreographed run only
#: what is open or dead is read, by an index of its own, however much is done (see `run_statements`).
LOAD = (
    "WITH of_a_saga AS MATERIALIZED ("
    + _EXECUTIONS
    + """
      AND (SELECT numbered IS NULL FROM {s}.saga_instance WHERE id = :id)
    """
    + _LOCKED
    + """
),
of_a_run AS MATERIALIZED ("""
    + _EXECUTIONS
    + """
      AND step.event_id IS NOT NULL AND (step.finished_at IS NULL OR step.dead_at IS NOT NULL)
    """
    + _LOCKED
    + """
),
step AS MATERIALIZED (
    SELECT *, false AS is_late FROM of_a_saga
    UNION ALL
    SELECT *, round = 0
        AND (SELECT ended_by IS NOT NULL OR turned_at IS NOT NULL OR status NOT IN ('pending', 'running')
             FROM {s}.saga_instance WHERE id = :id)
        AND EXISTS (SELECT FROM {s}.saga_inbox AS mail
                    WHERE mail.instance_id = :id AND mail.number = of_a_run.position AND mail.letter = 'late')
    FROM of_a_run
)
SELECT step.*, instance.saga, instance.key, instance.status AS saga_status, instance.plan_hash, instance.stop,
       instance.deadline, instance.deadline_seconds, instance.due_at, instance.pending, instance.written,
       instance.parent_id, instance.finished_at AS saga_finished_at, instance.numbered, instance.closed,
       instance.ended_by, instance.turned_at, instance.came, instance.quiet_from, instance.quiet_at,
       clock_timestamp() AS now,
       sweep.outage_from, sweep.outage_until,
       CASE WHEN sweep.swept_at > '-infinity' AND sweep.swept_at < clock_timestamp() - CAST(:outage AS interval)
            THEN sweep.swept_at END AS unswept_since,
       CASE WHEN row_number() OVER addresses = 1 THEN instance.error END AS saga_error,
       CASE WHEN row_number() OVER addresses = 1 THEN instance.headers::text END AS headers,
       CASE WHEN row_number() OVER addresses = 1 THEN (
           SELECT jsonb_agg(jsonb_build_object('id', mail.id, 'kind', mail.kind, 'name', mail.name,
                                               'payload', mail.payload, 'by', mail.sent_by,
                                               'seen', mail.seen_at IS NOT NULL) ORDER BY mail.id)
           FROM {s}.saga_inbox AS mail
           WHERE mail.instance_id = :id AND mail.consumed_at IS NULL AND mail.kind <> 'event') END AS inbox,
       CASE WHEN row_number() OVER addresses = 1 THEN (
           SELECT jsonb_agg(jsonb_build_object('id', child.id, 'status', child.status, 'error', child.error,
               'results', CASE WHEN child.status = 'completed' AND EXISTS (
                   SELECT FROM step WHERE step.round = 0 AND step.status = 'pending' AND step.task IS NULL) THEN (
                   SELECT jsonb_agg(done.result ORDER BY done.position, done.branch) FROM {s}.saga_step AS done
                   WHERE done.instance_id = child.id AND done.round = 0 AND done.result IS NOT NULL) END))
           FROM {s}.saga_instance AS child WHERE child.parent_id = :id) END AS children,
       EXISTS (SELECT FROM {s}.saga_lock WHERE instance_id = :id AND granted_at IS NULL) AS awaits_lock,
       NOT instance.current AND EXISTS (
           SELECT FROM {s}.saga_instance AS other
           WHERE other.saga = instance.saga AND other.key = instance.key AND other.current) AS is_superseded
FROM {s}.saga_instance AS instance LEFT JOIN step ON true LEFT JOIN {s}.saga_sweep AS sweep ON true
WHERE instance.id = :id
WINDOW addresses AS (ORDER BY step.position, step.branch, step.round)
ORDER BY step.position, step.branch, step.round
"""
)

#: Saves a decision: the instance, the executions that it changed or gave birth to, its entries for the history.
#: Returns whether the instance still was in the status that was loaded, and which executions wait in their line.
#: A dispatch stamps the epoch: unclaimed under another one, a claim may have been lost. Results are not loaded, so that
#: they are written only if they change.
SAVE = (
    """
WITH changed AS MATERIALIZED (
    SELECT head.*, CASE WHEN head.joining = 'always' OR (head.joining = 'behind others' AND """
    + HAS_LINE
    + """) THEN '' END AS line
    FROM json_to_recordset(CAST(:steps AS json)) AS head (
        position int, branch int, round int, """
    + step_columns.AS_RECORD
    + """, dispatches int, edits int, result text, input text,
        is_new boolean, has_result boolean, is_dispatched boolean, queue text, joining text,
        lane int, name text, task text, timeout float8, soft_timeout float8, synced_claim boolean, event_id uuid)
),
updated AS (
    UPDATE {s}.saga_step AS step
    SET """
    + step_columns.AS_UPDATED
    + """,
        dispatches = greatest(changed.dispatches - (changed.line IS NOT NULL)::int, 0),
        edits = coalesce(changed.edits, 0),
        input = coalesce(changed.input::jsonb, step.input),
        result = CASE WHEN changed.has_result THEN changed.result::jsonb ELSE step.result END,
        line = CASE WHEN changed.is_dispatched OR changed.line IS NOT NULL THEN changed.line ELSE step.line END,
        epoch = CASE WHEN changed.is_dispatched AND changed.dispatched_at IS NOT NULL
                     THEN (SELECT epoch FROM {s}.saga_epoch) ELSE step.epoch END
    FROM changed
    WHERE step.instance_id = :id AND step.position = changed.position AND step.branch = changed.branch
      AND step.round = changed.round AND NOT changed.is_new
),
born AS (
    INSERT INTO {s}.saga_step (instance_id, position, branch, round, lane, name, task, queue, timeout, soft_timeout,
        synced_claim, event_id, """
    + step_columns.AS_INSERTED
    + """, dispatches, edits, result, line, epoch)
    SELECT CAST(:id AS uuid), position, branch, round, lane, name, task, queue, timeout, soft_timeout,
        synced_claim, event_id, """
    + step_columns.AS_INSERTED
    + """, greatest(dispatches - (line IS NOT NULL)::int, 0), coalesce(edits, 0), result::jsonb, line,
        CASE WHEN dispatched_at IS NOT NULL THEN (SELECT epoch FROM {s}.saga_epoch) END
    FROM changed WHERE is_new
),
noted AS (
    INSERT INTO {s}.saga_event (instance_id, at, event, position, branch, round, step, detail)
    SELECT CAST(:id AS uuid), at, event, position, branch, round, step, detail
    FROM json_to_recordset(CAST(:notes AS json)) AS note (
        at timestamptz, event text, position int, branch int, round int, step text, detail jsonb)
),
saved AS (
    UPDATE {s}.saga_instance
    SET status = CAST(:status AS text), error = CAST(CAST(:error AS text) AS jsonb),
        stop = CAST(CAST(:stop AS text) AS jsonb), deadline = CAST(:deadline AS timestamptz),
        deadline_seconds = CASE WHEN CAST(:deadline AS timestamptz) IS NULL THEN deadline_seconds END,
        due_at = CAST(:due_at AS timestamptz), pending = CAST(:pending AS int),
        written = CAST(CAST(:written AS text) AS jsonb), finished_at = CAST(:finished_at AS timestamptz),
        updated_at = clock_timestamp(), unreadable_at = NULL
    WHERE id = :id AND status = CAST(:loaded AS text)
    RETURNING id
)
SELECT EXISTS (SELECT FROM saved) AS is_saved,
       (SELECT array_agg(ARRAY[position, branch, round]) FROM changed WHERE line IS NOT NULL) AS in_line
"""
)
