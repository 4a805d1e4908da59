"""Named statements about what lies between instances: inboxes, and resources that they take in turns."""

# -- The inbox: no lock on the instance's row, so it can be written inside any long transaction.

PUT_INTO_INBOX = """
INSERT INTO {s}.saga_inbox (instance_id, kind, name, key, payload, sent_by)
VALUES (:instance_id, :kind, :name, CAST(:key AS text), CAST(CAST(:payload AS text) AS jsonb), :sent_by)
ON CONFLICT (instance_id, kind, name, key) WHERE key IS NOT NULL DO NOTHING
RETURNING id
"""

#: Mail that has had its effect is deleted, except that a key has to be remembered.
MARK_READ = """
WITH gone AS (
    DELETE FROM {s}.saga_inbox WHERE id = ANY (CAST(:consumed AS bigint[])) AND key IS NULL
)
UPDATE {s}.saga_inbox SET seen_at = coalesce(seen_at, clock_timestamp()),
    consumed_at = CASE WHEN id = ANY (CAST(:consumed AS bigint[])) THEN clock_timestamp() END
WHERE id = ANY (CAST(:seen AS bigint[])) AND (seen_at IS NULL OR id = ANY (CAST(:consumed AS bigint[])))
  AND consumed_at IS NULL AND NOT (key IS NULL AND id = ANY (CAST(:consumed AS bigint[])))
"""

#: Instances whose rows cannot be read are retried at most every ten minutes: each try adds to their history.
PICK_UNSEEN = """
SELECT DISTINCT instance_id FROM (
    SELECT instance_id FROM {s}.saga_inbox AS mail WHERE seen_at IS NULL AND NOT EXISTS (
        SELECT FROM {s}.saga_event AS failed WHERE failed.instance_id = mail.instance_id
          AND failed.event = 'sweep_failed' AND failed.at > statement_timestamp() - interval '10 minutes')
    ORDER BY id LIMIT :limit) AS unseen
"""

CAME_TOO_LATE = """
SELECT EXISTS (SELECT FROM {s}.saga_event
               WHERE instance_id = :id AND event = 'signal_too_late' AND detail ->> 'number' = :number)
"""

#: Mail that will never be read: its instance no longer exists. Events are kept, and wait for a run that may come.
FORGET_INBOX = """
WITH early AS (
    UPDATE {s}.saga_inbox SET seen_at = clock_timestamp()
    WHERE instance_id = :id AND kind = 'event' AND seen_at IS NULL AND consumed_at IS NULL
)
DELETE FROM {s}.saga_inbox WHERE instance_id = :id AND kind <> 'event' AND consumed_at IS NULL
"""

# -- Records: data that a body hands to its compensation before it returns.

#: Kept even for a token that has lost its claim; returns whether it holds it. Nothing is kept for a purged instance.
ADD_RECORD = """
WITH kept AS (
    INSERT INTO {s}.saga_record (instance_id, position, branch, token, data)
    SELECT id, :position, :branch, :token, CAST(CAST(:data AS text) AS jsonb)
    FROM {s}.saga_instance WHERE id = :instance_id
)
SELECT EXISTS (SELECT FROM {s}.saga_step
               WHERE instance_id = :instance_id AND position = :position AND branch = :branch AND round = 0
                 AND token = :token AND status = 'running')
"""

RECORDS_OF = """
SELECT data::text FROM {s}.saga_record
WHERE instance_id = :instance_id AND position = :position AND branch = :branch ORDER BY id
"""

#: A column for reading an instance's executions: the records of an action, beside its row.
RECORDED = """
(SELECT jsonb_agg(record.data ORDER BY record.id) FROM {s}.saga_record AS record
 WHERE {s}.saga_step.round = 0 AND record.instance_id = {s}.saga_step.instance_id
   AND record.position = {s}.saga_step.position AND record.branch = {s}.saga_step.branch)
"""

# -- Doubts.

#: Reads the events of all instances: for an operator, not for a page. A release that judged by the old rule, which took
#: an unlisted error for a clean no, left no ``clean``: those events are marked by ``is_former``.
COUNT_DOUBTS = """
WITH doubts AS (
    SELECT instance.saga, event.step, event.position, event.branch, instance.plan_hash,
           event.detail ->> 'verdict' AS verdict, event.detail ->> 'type' AS type,
           event.detail -> 'clean' IS NULL AS is_former,
           count(*) AS failures, count(DISTINCT event.instance_id) AS instances, max(event.at) AS last_at,
           (array_agg(event.instance_id))[1] AS any_of_them
    FROM {s}.saga_event AS event JOIN {s}.saga_instance AS instance ON instance.id = event.instance_id
    WHERE event.event = 'attempt_failed' AND event.round = 0 AND event.at > statement_timestamp() - :since
      AND CASE WHEN event.detail -> 'clean' IS NULL
               THEN event.detail ->> 'verdict' = :clean_no AND event.detail ->> 'type' <> :permanent
               ELSE event.detail -> 'clean' = CAST('false' AS jsonb) END
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
), kinds AS (
    SELECT doubts.*, (
        SELECT split_part(planned ->> 'kind', '+', 1)
        FROM {s}.saga_instance AS one, jsonb_array_elements(one.plan -> 'steps') AS planned
        WHERE one.id = doubts.any_of_them AND CAST(planned ->> 'position' AS int) = doubts.position
          AND CAST(coalesce(planned ->> 'branch', '0') AS int) = doubts.branch) AS kind
    FROM doubts
)
SELECT saga, step, kind, verdict, type, is_former, CAST(sum(failures) AS int) AS failures,
       CAST(sum(instances) AS int) AS instances, max(last_at) AS last_at
FROM kinds GROUP BY saga, step, kind, verdict, type, is_former
ORDER BY kind = 'pivot' DESC NULLS LAST, kind, failures DESC, saga, step, type, verdict, is_former
"""

# -- Semantic locks: granting or releasing a resource holds its advisory lock until the end of the transaction.

SERIALISE_RESOURCES = """
SELECT pg_advisory_xact_lock(wanted.number) FROM (
    SELECT DISTINCT hashtextextended(:schema || ':' || named.resource, 1) AS number FROM (
        SELECT resource FROM {s}.saga_lock WHERE instance_id = :id UNION SELECT CAST(:also AS text)
    ) AS named WHERE named.resource IS NOT NULL ORDER BY number OFFSET 0
) AS wanted
"""

#: A failed instance has given its place back, or is about to; it queues again behind those that wait.
TAKE_PLACE = """
INSERT INTO {s}.saga_lock (resource, instance_id, capacity, lasting) VALUES (:resource, :id, :capacity, false)
ON CONFLICT (resource, instance_id) DO UPDATE SET ended_at = NULL
"""

#: First all of its locks or none: only if each is free, and no earlier instance waits for it. Then its place under the
#: limit, in whose line only instances with all their locks stand: waiting for a lock keeps no other from running.
GRANT = """
UPDATE {s}.saga_lock SET granted_at = clock_timestamp()
WHERE instance_id = :id AND lasting = :lasting AND granted_at IS NULL AND ended_at IS NULL
  AND NOT EXISTS (SELECT FROM {s}.saga_lock AS mine WHERE mine.instance_id = :id
    AND mine.granted_at IS NULL AND (
        (mine.lasting AND NOT :lasting)
        OR (mine.lasting = :lasting AND (
            (SELECT count(*) FROM {s}.saga_lock AS held
             WHERE held.resource = mine.resource AND held.granted_at IS NOT NULL) >= mine.capacity
            OR EXISTS (SELECT FROM {s}.saga_lock AS earlier
                       WHERE earlier.resource = mine.resource AND earlier.granted_at IS NULL
                         AND (earlier.ticket, earlier.instance_id) < (mine.ticket, mine.instance_id)
                         AND (earlier.lasting OR NOT EXISTS (
                             SELECT FROM {s}.saga_lock AS blocked WHERE blocked.instance_id = earlier.instance_id
                               AND blocked.lasting AND blocked.granted_at IS NULL)))))))
RETURNING resource
"""

AWAITS_LOCK = "SELECT EXISTS (SELECT FROM {s}.saga_lock WHERE instance_id = :id AND granted_at IS NULL)"

#: With the end itself: locks that a failed instance keeps until a person resolves it are not marked, and neither are
#: those it gets back by a retry. An undo waits for nothing: an instance that turns back leaves the line.
MARK_ENDED = """
UPDATE {s}.saga_lock SET ended_at = CASE WHEN :status IN ('completed', 'compensated')
    OR (:status = 'failed' AND NOT lasting) OR (:status = 'compensating' AND granted_at IS NULL)
    THEN clock_timestamp() END
WHERE instance_id = :id
"""

RELEASE = "DELETE FROM {s}.saga_lock WHERE instance_id = :id AND ended_at IS NOT NULL RETURNING resource"

#: Wakes the next in line.
WAKE_NEXT = """
INSERT INTO {s}.saga_inbox (instance_id, kind)
SELECT DISTINCT next.instance_id, 'wake' FROM unnest(CAST(:resources AS text[])) AS freed (resource)
CROSS JOIN LATERAL (
    SELECT instance_id FROM {s}.saga_lock AS waiting
    WHERE waiting.resource = freed.resource AND waiting.granted_at IS NULL
      AND (waiting.lasting OR NOT EXISTS (
          SELECT FROM {s}.saga_lock AS blocked WHERE blocked.instance_id = waiting.instance_id
            AND blocked.lasting AND blocked.granted_at IS NULL))
    ORDER BY waiting.ticket, waiting.instance_id LIMIT 1
) AS next
RETURNING instance_id
"""

#: Resources of the instance that has the same key do not count.
FIND_LOCKED = """
SELECT resource FROM {s}.saga_lock WHERE resource = ANY (CAST(:resources AS text[]))
  AND instance_id IS DISTINCT FROM CAST(:own AS uuid) AND ended_at IS NULL LIMIT 1
"""

#: The holders of the resources that an instance named, and since when it holds them itself.
LOCKS_OF = """
SELECT mine.resource, mine.granted_at, (
    SELECT array_agg(held.instance_id ORDER BY held.ticket, held.instance_id) FROM {s}.saga_lock AS held
    WHERE held.resource = mine.resource AND held.granted_at IS NOT NULL AND held.instance_id <> mine.instance_id
) AS holders
FROM {s}.saga_lock AS mine WHERE mine.instance_id = :id ORDER BY mine.resource
"""

#: Instances that ended, but whose process died before it released their resources.
PICK_ENDED_HOLDERS = "SELECT DISTINCT instance_id FROM {s}.saga_lock WHERE ended_at IS NOT NULL LIMIT :limit"

# -- Child sagas and their parents.

FAILED_BELOW = """
WITH RECURSIVE below AS (
    SELECT id, id AS child, status = 'failed' OR (unreadable_at IS NOT NULL AND due_at IS NOT NULL) AS waits
    FROM {s}.saga_instance WHERE parent_id = :id
    UNION ALL
    SELECT own.id, below.child, own.status = 'failed' OR (own.unreadable_at IS NOT NULL AND own.due_at IS NOT NULL)
    FROM {s}.saga_instance AS own JOIN below ON own.parent_id = below.id
)
SELECT child, array_agg(id ORDER BY id) AS failed FROM below WHERE waits GROUP BY child
"""

# -- Kinship: child sagas belong to their parents, and what a step or an event begins belongs to its instance.

#: The correlation id of an instance: that of the first of its ancestors, which may be in another service.
CORRELATION = """
(WITH RECURSIVE above AS (
     SELECT own.id, own.parent_id, own.correlation_id FROM {s}.saga_instance AS own WHERE own.id = :id
     UNION ALL
     SELECT parent.id, parent.parent_id, parent.correlation_id
     FROM {s}.saga_instance AS parent JOIN above ON parent.id = above.parent_id WHERE above.correlation_id IS NULL)
 SELECT coalesce(correlation_id, id) FROM above
 WHERE correlation_id IS NOT NULL OR NOT EXISTS (SELECT FROM above AS next WHERE next.id = above.parent_id)
 LIMIT 1)
"""

CORRELATION_OF = "SELECT " + CORRELATION

#: The instance that one execution began, by an index on the correlation id.
BEGUN_BY = "SELECT id FROM {s}.saga_instance WHERE correlation_id = :correlation AND caused_by = :cause LIMIT 1"

#: All that have a correlation id, and their child sagas, the oldest first.
CORRELATED = """
WITH RECURSIVE related AS (
    SELECT id, created_at FROM {s}.saga_instance WHERE id = :correlation OR correlation_id = :correlation
    UNION
    SELECT child.id, child.created_at FROM {s}.saga_instance AS child JOIN related ON child.parent_id = related.id
)
SELECT id FROM related ORDER BY created_at, id
"""
