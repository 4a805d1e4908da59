"""The named statements of what lies between instances: inboxes, and resources that they take in turns."""

# -- The inbox: no lock on the instance's row, so it can be written inside anybody's long transaction.

PUT_INTO_INBOX = """
INSERT INTO {s}.saga_inbox (instance_id, kind, name, key, payload, sent_by)
VALUES (:instance_id, :kind, :name, CAST(:key AS text), CAST(CAST(:payload AS text) AS jsonb), :sent_by)
ON CONFLICT (instance_id, kind, name, key) WHERE key IS NOT NULL DO NOTHING
RETURNING id
"""

MARK_READ = """
UPDATE {s}.saga_inbox SET seen_at = coalesce(seen_at, clock_timestamp()),
    consumed_at = CASE WHEN id = ANY (CAST(:consumed AS bigint[])) THEN clock_timestamp() END
WHERE id = ANY (CAST(:seen AS bigint[])) AND consumed_at IS NULL
"""

PICK_UNSEEN = """
SELECT DISTINCT instance_id FROM (SELECT instance_id FROM {s}.saga_inbox WHERE seen_at IS NULL ORDER BY id LIMIT :limit)
AS unseen
"""

#: What nobody will ever read: its instance is gone.
FORGET_INBOX = """
UPDATE {s}.saga_inbox SET seen_at = clock_timestamp(), consumed_at = clock_timestamp()
WHERE instance_id = :id AND consumed_at IS NULL
"""

# -- Semantic locks: whoever grants or releases a resource holds its advisory lock until the end of the transaction.

SERIALISE_RESOURCES = """
SELECT pg_advisory_xact_lock(wanted.number) FROM (
    SELECT DISTINCT hashtextextended(:schema || ':' || resource, 1) AS number FROM {s}.saga_lock
    WHERE instance_id = :id ORDER BY number OFFSET 0
) AS wanted
"""

#: All of them or none: only if each has room, and nobody waits for it who came before.
GRANT = """
UPDATE {s}.saga_lock SET granted_at = clock_timestamp()
WHERE instance_id = :id AND granted_at IS NULL AND NOT EXISTS (
    SELECT FROM {s}.saga_lock AS mine WHERE mine.instance_id = :id AND (
        (SELECT count(*) FROM {s}.saga_lock AS held
         WHERE held.resource = mine.resource AND held.granted_at IS NOT NULL) >= mine.capacity
        OR EXISTS (SELECT FROM {s}.saga_lock AS earlier
                   WHERE earlier.resource = mine.resource AND earlier.granted_at IS NULL
                     AND (earlier.ticket, earlier.instance_id) < (mine.ticket, mine.instance_id))))
RETURNING resource
"""

RELEASE = """
DELETE FROM {s}.saga_lock WHERE instance_id = :id AND (CAST(:ended AS boolean) OR NOT lasting) RETURNING resource
"""

#: Whose turn it may be now.
WAKE_NEXT = """
INSERT INTO {s}.saga_inbox (instance_id, kind)
SELECT DISTINCT next.instance_id, 'wake' FROM unnest(CAST(:resources AS text[])) AS freed (resource)
CROSS JOIN LATERAL (
    SELECT instance_id FROM {s}.saga_lock AS waiting
    WHERE waiting.resource = freed.resource AND waiting.granted_at IS NULL
    ORDER BY waiting.ticket, waiting.instance_id LIMIT 1
) AS next
RETURNING instance_id
"""

FIND_LOCKED = "SELECT resource FROM {s}.saga_lock WHERE resource = ANY (CAST(:resources AS text[])) LIMIT 1"

#: Whoever ended and died before it released what it held.
PICK_ENDED_HOLDERS = """
SELECT DISTINCT held.instance_id FROM {s}.saga_lock AS held
LEFT JOIN {s}.saga_instance AS instance ON instance.id = held.instance_id
WHERE instance.id IS NULL OR instance.status IN ('completed', 'compensated')
   OR (instance.status = 'failed' AND NOT held.lasting)
LIMIT :limit
"""
