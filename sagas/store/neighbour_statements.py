"""The named statements of what lies between instances: inboxes, and resources that they take in turns."""

# -- The inbox: no lock on the instance's row, so it can be written inside anybody's long transaction.

PUT_INTO_INBOX = """
INSERT INTO {s}.saga_inbox (instance_id, kind, name, key, payload, sent_by)
VALUES (:instance_id, :kind, :name, CAST(:key AS text), CAST(CAST(:payload AS text) AS jsonb), :sent_by)
ON CONFLICT (instance_id, kind, name, key) WHERE key IS NOT NULL DO NOTHING
RETURNING id
"""

#: What has had its effect is deleted; but a key has to be remembered.
MARK_READ = """
WITH gone AS (
    DELETE FROM {s}.saga_inbox WHERE id = ANY (CAST(:consumed AS bigint[])) AND key IS NULL
)
UPDATE {s}.saga_inbox SET seen_at = coalesce(seen_at, clock_timestamp()),
    consumed_at = CASE WHEN id = ANY (CAST(:consumed AS bigint[])) THEN clock_timestamp() END
WHERE id = ANY (CAST(:seen AS bigint[])) AND (seen_at IS NULL OR id = ANY (CAST(:consumed AS bigint[])))
  AND consumed_at IS NULL AND NOT (key IS NULL AND id = ANY (CAST(:consumed AS bigint[])))
"""

#: Whose rows cannot be read is asked again now and then: each try adds to its history.
PICK_UNSEEN = """
SELECT DISTINCT instance_id FROM (
    SELECT instance_id FROM {s}.saga_inbox AS mail WHERE seen_at IS NULL AND NOT EXISTS (
        SELECT FROM {s}.saga_event AS failed WHERE failed.instance_id = mail.instance_id
          AND failed.event = 'sweep_failed' AND failed.at > statement_timestamp() - interval '10 minutes')
    ORDER BY id LIMIT :limit) AS unseen
"""

#: What nobody will ever read: its instance is gone.
FORGET_INBOX = "DELETE FROM {s}.saga_inbox WHERE instance_id = :id"

# -- Semantic locks: whoever grants or releases a resource holds its advisory lock until the end of the transaction.

SERIALISE_RESOURCES = """
SELECT pg_advisory_xact_lock(wanted.number) FROM (
    SELECT DISTINCT hashtextextended(:schema || ':' || resource, 1) AS number FROM {s}.saga_lock
    WHERE instance_id = :id ORDER BY number OFFSET 0
) AS wanted
"""

#: First all of its locks or none: only if each is free, and nobody waits for it who came before. Then its place under
#: the limit, in whose line stands only who has its locks: whoever waits for a lock keeps nobody else from running.
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

#: With the end itself: what a failed instance keeps until a person has resolved it is not marked, and what it gets
#: back by a retry no more.
MARK_ENDED = """
UPDATE {s}.saga_lock SET ended_at = CASE WHEN :status IN ('completed', 'compensated')
    OR (:status = 'failed' AND NOT lasting) THEN clock_timestamp() END
WHERE instance_id = :id
"""

RELEASE = "DELETE FROM {s}.saga_lock WHERE instance_id = :id AND ended_at IS NOT NULL RETURNING resource"

#: Whose turn it may be now.
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

#: Not what the instance of the same key has.
FIND_LOCKED = """
SELECT resource FROM {s}.saga_lock WHERE resource = ANY (CAST(:resources AS text[]))
  AND instance_id IS DISTINCT FROM CAST(:own AS uuid) AND ended_at IS NULL LIMIT 1
"""

#: Who holds what an instance has named, and since when it has it itself.
LOCKS_OF = """
SELECT mine.resource, mine.granted_at, (
    SELECT array_agg(held.instance_id ORDER BY held.ticket, held.instance_id) FROM {s}.saga_lock AS held
    WHERE held.resource = mine.resource AND held.granted_at IS NOT NULL AND held.instance_id <> mine.instance_id
) AS holders
FROM {s}.saga_lock AS mine WHERE mine.instance_id = :id ORDER BY mine.resource
"""

#: Whoever ended and died before it released what it held.
PICK_ENDED_HOLDERS = "SELECT DISTINCT instance_id FROM {s}.saga_lock WHERE ended_at IS NOT NULL LIMIT :limit"
