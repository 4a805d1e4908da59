"""Named statements about dead letters (see `statements` for their conventions)."""

#: The payload that a delivery and its undos get: the event's, or the last one that a person gave the delivery.
PAYLOAD = """
coalesce((SELECT action.input FROM {s}.saga_step AS action
          WHERE action.instance_id = step.instance_id AND action.position = step.position
            AND action.branch = step.branch AND action.round = 0), mail.payload)"""

_ARE_DEAD = """
WHERE step.dead_at IS NOT NULL
  AND (step.dead_at, step.instance_id, step.position, step.branch, step.round) > (CAST(:after AS timestamptz),
       CAST(:after_run AS uuid), CAST(:after_number AS int), CAST(:after_branch AS int), CAST(:after_round AS int))
  AND (CAST(:choreography AS text) IS NULL OR instance.saga = :choreography)
  AND (CAST(:handler AS text) IS NULL OR step.name = :handler)
  AND (CAST(:error AS text) IS NULL OR step.error ->> 'type' = :error)
  AND (CAST(:older_than AS interval) IS NULL OR step.dead_at < clock_timestamp() - CAST(:older_than AS interval))
  AND (CAST(:run AS uuid) IS NULL OR step.instance_id = :run)
  AND (CAST(:number AS int) IS NULL OR step.position = :number)
  AND (CAST(:event AS uuid) IS NULL OR step.event_id = :event)
"""

#: Deliveries and undos that were given up, the oldest first, by an index of their own; with what each holds up.
DEAD = (
    """
SELECT step.instance_id AS run, instance.saga AS choreography, instance.key, step.name AS handler,
       step.event_id AS event, mail.name AS type, mail.version, step.position AS number, step.branch, step.round,
       step.edits, """
    + PAYLOAD
    + """::text AS payload, step.error,
       step.attempts - step.forgiven AS attempts, step.doubt AS in_doubt, step.dead_at,
       step.parked_since IS NOT NULL AS is_parked, mail.letter IS NOT DISTINCT FROM 'late' AS is_late,
       (SELECT count(*) FROM {s}.saga_step AS held WHERE held.instance_id = step.instance_id
          AND held.branch = step.branch AND held.round = 0 AND held.event_id IS NOT NULL AND held.finished_at IS NULL
          AND held.status = 'held' AND step.round = 0) AS held
FROM {s}.saga_step AS step
JOIN {s}.saga_instance AS instance ON instance.id = step.instance_id
JOIN {s}.saga_inbox AS mail ON mail.instance_id = step.instance_id AND mail.number = step.position"""
    + _ARE_DEAD
    + """ORDER BY step.dead_at, step.instance_id, step.position, step.branch, step.round LIMIT :limit
"""
)

COUNT_DEAD = (
    """
SELECT count(*) FROM (
    SELECT FROM {s}.saga_step AS step JOIN {s}.saga_instance AS instance ON instance.id = step.instance_id"""
    + _ARE_DEAD
    + """LIMIT :limit) AS counted
"""
)

#: The payload of a delivery as it is stored, and the choreography whose code reads it.
STORED = (
    """
SELECT mail.name AS type, mail.version, instance.saga AS choreography, instance.version AS choreography_version, """
    + PAYLOAD
    + """::text AS payload
FROM {s}.saga_step AS step
JOIN {s}.saga_instance AS instance ON instance.id = step.instance_id
JOIN {s}.saga_inbox AS mail ON mail.instance_id = step.instance_id AND mail.number = step.position
WHERE step.instance_id = :run AND step.position = :position AND step.branch = :branch AND step.round = 0
"""
)

_ARE_UNDELIVERED = """
FROM {s}.saga_inbox AS mail LEFT JOIN {s}.saga_instance AS instance ON instance.id = mail.instance_id
WHERE mail.letter IS NOT NULL AND mail.letter <> 'muted' AND mail.acknowledged_at IS NULL
  AND (mail.consumed_at, mail.instance_id, mail.event_id)
      > (CAST(:after AS timestamptz), CAST(:after_run AS uuid), CAST(:after_event AS uuid))
  AND (CAST(:choreography AS text) IS NULL OR coalesce(instance.saga, mail.choreography) = :choreography)
  AND (CAST(:older_than AS interval) IS NULL OR mail.consumed_at < clock_timestamp() - CAST(:older_than AS interval))
  AND (CAST(:run AS uuid) IS NULL OR mail.instance_id = :run)
  AND (CAST(:number AS int) IS NULL OR mail.number = :number)
  AND (CAST(:event AS uuid) IS NULL OR mail.event_id = :event)
"""

#: Events that no handler gets: they came too late or too early, or were one too many.
UNDELIVERED = (
    """
SELECT mail.instance_id AS run, coalesce(instance.saga, mail.choreography) AS choreography,
       coalesce(instance.key, mail.run_key) AS key, mail.event_id AS event, mail.name AS type, mail.version,
       mail.number, mail.payload::text AS payload, mail.letter, mail.consumed_at AS dead_at"""
    + _ARE_UNDELIVERED
    + """ORDER BY mail.consumed_at, mail.instance_id, mail.event_id LIMIT :limit
"""
)

COUNT_UNDELIVERED = "SELECT count(*) FROM (SELECT" + _ARE_UNDELIVERED + "LIMIT :limit) AS counted"

#: A person has looked at it, with an entry in the history of its run, if there is one, that says why.
ACKNOWLEDGE = """
WITH letter AS (
    UPDATE {s}.saga_inbox SET acknowledged_at = clock_timestamp()
    WHERE instance_id = :run AND event_id = :event AND letter IS NOT NULL AND letter <> 'muted'
      AND acknowledged_at IS NULL
    RETURNING instance_id
), noted AS (
    INSERT INTO {s}.saga_event (instance_id, event, detail)
    SELECT id, 'skip_requested', CAST(:detail AS jsonb) FROM {s}.saga_instance
    WHERE id IN (SELECT instance_id FROM letter)
)
SELECT instance_id FROM letter
"""

# -- Events whose run does not come

#: Whether one has waited long enough: a part of the statement that begins each pass. Only early events are seen and not
#: consumed, so that their index is as small as they are few.
IS_EARLY_TOO_LONG = """
EXISTS (SELECT FROM {s}.saga_inbox WHERE kind = 'event' AND seen_at IS NOT NULL AND consumed_at IS NULL
          AND early_until <= statement_timestamp())
"""

#: Makes letters of them, the longest waiting first.
BURY_EARLY = """
UPDATE {s}.saga_inbox SET letter = 'early', consumed_at = clock_timestamp()
WHERE id IN (
    SELECT id FROM {s}.saga_inbox AS mail
    WHERE kind = 'event' AND seen_at IS NOT NULL AND consumed_at IS NULL AND early_until <= statement_timestamp()
      AND NOT EXISTS (SELECT FROM {s}.saga_instance WHERE id = mail.instance_id)
    ORDER BY early_until LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING instance_id, event_id, name, choreography, run_key
"""

#: The run has come after all: the event is one of those that wait for their numbers.
DELIVER_EARLY = """
WITH letter AS (
    UPDATE {s}.saga_inbox SET letter = NULL, consumed_at = NULL, seen_at = NULL, early_until = NULL
    WHERE instance_id = :run AND event_id = :event AND letter = 'early' AND acknowledged_at IS NULL
      AND EXISTS (SELECT FROM {s}.saga_instance WHERE id = :run)
    RETURNING instance_id
), noted AS (
    INSERT INTO {s}.saga_event (instance_id, event, detail)
    SELECT instance_id, 'replayed', CAST(:detail AS jsonb) FROM letter
)
SELECT EXISTS (SELECT FROM letter) AS is_delivered,
       EXISTS (SELECT FROM {s}.saga_instance WHERE id = :run) AS has_run
"""
