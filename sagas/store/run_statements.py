"""Named statements about choreographed runs (see `statements` for their conventions)."""

from sagas.store import step_columns
from sagas.store.loop_statements import HOLDER
from sagas.store.neighbour_statements import CORRELATION
from sagas.store.statements import HAS_LINE, TAKE, TAKEN

# -- Publishing and starting: in the caller's transaction. No lock on a run, and no number: that comes after the commit.

#: One insert. A second event of the same type with the same key does nothing, nor does one for a saga: it hears none.
PUBLISH = """
INSERT INTO {s}.saga_inbox (instance_id, kind, name, key, payload, sent_by, event_id, version, cause, depth, caused_by,
                            choreography, run_key, early_until)
SELECT :run_id, 'event', :type, CAST(:key AS text), CAST(CAST(:payload AS text) AS jsonb), :by, :event_id, :version,
       CAST(:cause AS int), :depth, CAST(:caused_by AS text), CAST(:choreography AS text), CAST(:run_key AS text),
       clock_timestamp() + make_interval(secs => CAST(:early_for AS float8))
WHERE NOT EXISTS (SELECT FROM {s}.saga_instance WHERE id = :run_id AND numbered IS NULL)
ON CONFLICT (instance_id, kind, name, key) WHERE key IS NOT NULL DO NOTHING
RETURNING id
"""

#: Whether the event that has a key says the same as another one.
IS_THE_SAME = """
SELECT payload = CAST(CAST(:payload AS text) AS jsonb) AND version = :version FROM {s}.saga_inbox
WHERE instance_id = :run_id AND kind = 'event' AND name = :type AND key = :key
"""

IS_A_SAGA = "SELECT EXISTS (SELECT FROM {s}.saga_instance WHERE id = :run_id AND numbered IS NULL)"

#: A run with its first event. If its deliveries are given, the event has its number at once, since no other transaction
#: can know the run: returns the branches to be sent now, which stand in no line. Otherwise the run is due at once, and
#: the first look numbers the event. The id of a run is made of its key, so two starts with one key meet in it. Events
#: that have come before are unseen again: should the start not look, the sweep does, and makes no letters of them.
START_RUN = (
    """
WITH born AS (
    INSERT INTO {s}.saga_instance (id, saga, version, key, plan, plan_hash, data, headers, deadline, deadline_seconds,
                                   pending, due_at, numbered, closed)
    SELECT :run_id, :saga, :saga_version, CAST(:run_key AS text), CAST(CAST(:plan AS text) AS jsonb), :plan_hash, '{}',
           coalesce(CAST(CAST(:headers AS text) AS jsonb), (SELECT heir_of.headers FROM {s}.saga_instance AS heir_of
                                                            WHERE heir_of.id = CAST(:heir_of AS uuid))),
           CASE WHEN first.births > 0 THEN first.deadline END,
           CASE WHEN first.births = 0 THEN CAST(:deadline_seconds AS double precision) END, first.births,
           CASE WHEN first.births > 0 THEN least(clock_timestamp() + CAST(:silence AS interval), first.deadline)
                ELSE clock_timestamp() END, least(first.births, 1), '{}'
    FROM (SELECT cardinality(CAST(:branches AS int[])) AS births,
                 clock_timestamp() + make_interval(secs => CAST(:deadline_seconds AS double precision)) AS deadline
         ) AS first
    ON CONFLICT DO NOTHING
    RETURNING id, nullif(numbered, 0) AS number, CASE WHEN numbered > 0 THEN clock_timestamp() END AS numbered_at
),
first AS (
    INSERT INTO {s}.saga_inbox (instance_id, kind, name, payload, sent_by, event_id, version, depth, caused_by, number,
                                seen_at, consumed_at)
    SELECT id, 'event', :type, CAST(CAST(:payload AS text) AS jsonb), :by, :event_id, :version, :depth,
           CAST(:caused_by AS text), number, numbered_at, numbered_at FROM born
),
early AS (
    UPDATE {s}.saga_inbox AS mail SET seen_at = NULL FROM born
    WHERE CAST(:run_key AS text) IS NOT NULL AND mail.instance_id = born.id AND mail.consumed_at IS NULL
      AND mail.kind = 'event'
),
delivery AS (
    INSERT INTO {s}.saga_step (instance_id, position, branch, round, lane, name, task, queue, timeout, soft_timeout,
                               synced_claim, event_id, epoch, line, dispatches)
    SELECT born.id, born.number, head.branch, 0, head.lane, head.name, head.task, head.queue, head.timeout,
           head.soft_timeout, head.synced_claim, CAST(:event_id AS uuid), (SELECT epoch FROM {s}.saga_epoch), head.line,
           CASE WHEN head.line IS NULL THEN 1 ELSE 0 END
    FROM born, (SELECT *, CASE WHEN """
    + HAS_LINE
    + """ THEN '' END AS line
          FROM unnest(CAST(:branches AS int[]), CAST(:lanes AS int[]), CAST(:names AS text[]), CAST(:tasks AS text[]),
                      CAST(:queues AS text[]), CAST(:timeouts AS float8[]), CAST(:soft_timeouts AS float8[]),
                      CAST(:synced_claims AS boolean[]))
               AS head (branch, lane, name, task, queue, timeout, soft_timeout, synced_claim)) AS head
    RETURNING branch, line
)
SELECT ARRAY(SELECT branch FROM delivery WHERE line IS NULL ORDER BY branch) FROM born
"""
)

#: Whether events have come before the start of their run.
HAS_EARLY = "SELECT EXISTS (SELECT FROM {s}.saga_inbox WHERE instance_id = :run_id AND consumed_at IS NULL)"

#: Beside the start of what another instance (``id``) began: it belongs to whatever that belongs to. If an event of that
#: began it, by its number, what it publishes is one cause further away than that event.
CORRELATE = (
    """
UPDATE {s}.saga_instance AS begun SET caused_by = :caused_by, correlation_id = coalesce("""
    + CORRELATION
    + """, :id), depth = (SELECT event.depth + 1 FROM {s}.saga_inbox AS event
                          WHERE event.instance_id = :id AND event.number = CAST(:number AS int))
WHERE begun.id = :begun RETURNING begun.id
"""
)

#: How many causes lie between an event from outside and what a saga publishes: the saga's own number, or that of the
#: nearest of its ancestors which an event began.
DEPTH = """
WITH RECURSIVE above AS (
    SELECT own.parent_id, own.depth FROM {s}.saga_instance AS own WHERE own.id = :id
    UNION ALL
    SELECT parent.parent_id, parent.depth
    FROM {s}.saga_instance AS parent JOIN above ON parent.id = above.parent_id WHERE above.depth IS NULL
)
SELECT coalesce(max(depth), 0) FROM above
"""

#: Whether a run was started with the same event. Events that were published for its key earlier name a choreography.
IS_STARTED_SO = """
SELECT payload = CAST(CAST(:payload AS text) AS jsonb) AND version = :version FROM {s}.saga_inbox
WHERE instance_id = :run_id AND kind = 'event' AND name = :type
ORDER BY number NULLS LAST, choreography IS NOT NULL, id LIMIT 1
"""

#: Takes a delivery, as `CLAIM` takes a step: 1 round trip, 0 fsyncs. It brings back the event, and nothing that grows
#: with the run. Nothing of the run's row gates it: whatever is not to begin any more was voided under the run's lock.
CLAIM_DELIVERY = (
    TAKE
    + TAKEN
    + """
SELECT claimed.attempts, claimed.forgiven, claimed.claimed_at, claimed.timeout, claimed.soft_timeout,
       claimed.epoch_changed, claimed.doubt, instance.saga, instance.plan_hash,
       CASE WHEN instance.plan_hash = ANY (%(known_plans)s) THEN NULL ELSE instance.plan::text END AS plan,
       '{}' AS data, NULL::timestamptz AS deadline, NULL AS earlier_results,
       (SELECT own.result::text FROM {s}.saga_step AS own
        WHERE claimed.round > 0 AND own.instance_id = claimed.instance_id AND own.position = claimed.position
          AND own.branch = claimed.branch AND own.round = 0) AS own_result,
       instance.headers::text AS headers, claimed.event_id, mail.name, mail.version,
       CASE WHEN claimed.edits = 0 THEN mail.payload ELSE coalesce((
           SELECT edited.input FROM {s}.saga_step AS edited WHERE edited.instance_id = claimed.instance_id
             AND edited.position = claimed.position AND edited.branch = claimed.branch AND edited.round = 0),
           mail.payload) END::text AS payload,
       mail.cause, mail.depth, claimed.edits, (instance.closed ->> claimed.name)::int AS closed_by,
       instance.error ->> 'message' AS reason, instance.correlation_id,
       coalesce(handler.dead_in_row, 0) AS dead_in_row, handler.paused_until
FROM claimed CROSS JOIN unsynced JOIN {s}.saga_instance AS instance ON instance.id = claimed.instance_id
JOIN {s}.saga_inbox AS mail ON mail.instance_id = claimed.instance_id AND mail.number = claimed.position
LEFT JOIN {s}.saga_handler AS handler
  ON claimed.round = 0 AND handler.choreography = instance.saga AND handler.handler = claimed.name
"""
)

# -- Looking at a run, each in a statement of its own once its row is locked.

#: Finished deliveries, which `LOAD` leaves out: all of them, or the one that an event is about with its undos. So the
#: cost of a look does not grow with the run, as long as nothing has to be undone.
LOAD_DONE = (
    """
SELECT step.position, step.branch, step.round, step.name, step.timeout, step.soft_timeout, step.delivery,
       step.event_id, worker.hostname, """
    + step_columns.AS_LOADED
    + """,
       """
    + HOLDER
    + """ AS holder, false AS epoch_changed, false AS is_late
FROM {s}.saga_step AS step LEFT JOIN {s}.saga_worker AS worker ON worker.id = step.worker_id
WHERE step.instance_id = :id AND step.finished_at IS NOT NULL AND step.dead_at IS NULL
  AND (:whole OR (step.position = :position AND step.branch = :branch))
ORDER BY step.position, step.branch, step.round FOR UPDATE OF step
"""
)

SAVE_RUN = """
UPDATE {s}.saga_instance SET numbered = :numbered, closed = CAST(CAST(:closed AS text) AS jsonb), ended_by = :ended_by,
    turned_at = :turned_at, came = CAST(CAST(:came AS text) AS jsonb), quiet_from = :quiet_from, quiet_at = :quiet_at
WHERE id = :id AND (numbered, ended_by, turned_at, closed, came, quiet_from, quiet_at) IS DISTINCT FROM (
    CAST(:numbered AS int), CAST(:ended_by AS int), CAST(:turned_at AS timestamptz),
    CAST(CAST(:closed AS text) AS jsonb), CAST(CAST(:came AS text) AS jsonb), CAST(:quiet_from AS timestamptz),
    CAST(:quiet_at AS timestamptz))
"""

_ARRIVED = """ id, event_id, name, version, cause, depth, choreography IS NOT NULL AS by_key,
       cause IS NOT NULL AND EXISTS (
           SELECT FROM {s}.saga_inbox AS former WHERE former.instance_id = mail.instance_id
             AND former.number = mail.cause AND former.letter = 'late') AS after_late
FROM {s}.saga_inbox AS mail
WHERE instance_id = :id AND kind = 'event' AND consumed_at IS NULL"""

#: Events without a number, in the order of their insertion. At most one more than are numbered at once.
LOAD_ARRIVED = "SELECT" + _ARRIVED + " ORDER BY id LIMIT :limit"

#: A run's first look begins with the event of its start, however many have come before, of the same type too.
LOAD_FIRST = "SELECT" + _ARRIVED + " AND name = :starts ORDER BY by_key, id LIMIT 1"

#: A late event that a person wants delivered, unless it has been answered: also that is done under the run's lock.
LOAD_LATE = """
SELECT number, event_id, name, consumed_at FROM {s}.saga_inbox
WHERE instance_id = :id AND number = :number AND letter = 'late' AND acknowledged_at IS NULL
"""

#: It is delivered: a letter no more, until its delivery is one.
ANSWER_LATE = """
UPDATE {s}.saga_inbox SET acknowledged_at = clock_timestamp() WHERE instance_id = :id AND number = :number
"""

NUMBER = """
UPDATE {s}.saga_inbox AS mail SET number = given.number, letter = given.letter,
    seen_at = coalesce(seen_at, clock_timestamp()), consumed_at = clock_timestamp()
FROM unnest(CAST(:rows AS bigint[]), CAST(:numbers AS int[]), CAST(:letters AS text[])) AS given (id, number, letter)
WHERE mail.id = given.id AND mail.consumed_at IS NULL
"""

#: An event that a delivery returned, or that the library publishes. A muted one is kept, and never has a number. What
#: the library publishes is filled from the run's first event: the fields of both, and the reason.
RECORD = """
INSERT INTO {s}.saga_inbox (instance_id, kind, name, payload, sent_by, event_id, version, cause, depth, number, letter,
                            seen_at, consumed_at)
SELECT :run_id, 'event', :type,
       CASE WHEN CAST(:payload AS text) IS NOT NULL THEN CAST(CAST(:payload AS text) AS jsonb) ELSE (
           SELECT coalesce(jsonb_object_agg(field.key, field.value), '{}')
           FROM {s}.saga_inbox AS first, jsonb_each(first.payload || CAST(CAST(:reason AS text) AS jsonb)) AS field
           WHERE first.instance_id = :run_id AND first.number = 1 AND field.key = ANY (CAST(:fields AS text[]))) END,
       :by, :event_id, :version, CAST(:cause AS int), :depth, CAST(:number AS int), CAST(:letter AS text),
       CASE WHEN :is_over THEN clock_timestamp() END, CASE WHEN :is_over THEN clock_timestamp() END
"""

# -- The graph by which a run starts

REGISTERED = "SELECT plan::text FROM {s}.saga_definition WHERE saga = :saga AND version = :version"

#: Workers register what they know after their imports. The caller has compared it with what was there.
REGISTER_GRAPH = """
INSERT INTO {s}.saga_definition AS known (saga, version, plan_hash, plan)
VALUES (:saga, :version, :plan_hash, CAST(CAST(:plan AS text) AS jsonb))
ON CONFLICT (saga, version) DO UPDATE
SET plan_hash = excluded.plan_hash, plan = excluded.plan, registered_at = clock_timestamp()
WHERE known.plan_hash IS NOT DISTINCT FROM CAST(:former AS text)
"""

# -- Samples of stored events

#: The newest event of each type and version, with the choreography of its run. From each the next one is found by an
#: index: as many rows are read as there are versions, however many events.
SAMPLES = """
WITH RECURSIVE newest AS (
    (SELECT name, version, id FROM {s}.saga_inbox WHERE event_id IS NOT NULL
     ORDER BY name DESC, version DESC, id DESC LIMIT 1)
    UNION ALL
    SELECT further.* FROM newest CROSS JOIN LATERAL (
        SELECT name, version, id FROM {s}.saga_inbox
        WHERE event_id IS NOT NULL AND (name, version) < (newest.name, newest.version)
        ORDER BY name DESC, version DESC, id DESC LIMIT 1) AS further
)
SELECT coalesce(run.saga, event.choreography) AS saga, event.name, event.version, event.payload::text AS payload
FROM newest JOIN {s}.saga_inbox AS event ON event.id = newest.id
LEFT JOIN {s}.saga_instance AS run ON run.id = event.instance_id
ORDER BY 1, 2, 3
"""
