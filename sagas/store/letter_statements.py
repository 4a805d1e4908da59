"""Named statements about dead letters (see `statements` for their conventions)."""

#: What a delivery and its undos get: the event, or the last payload that a person gave the delivery.
PAYLOAD = """
coalesce((SELECT action.input FROM {s}.saga_step AS action
          WHERE action.instance_id = step.instance_id AND action.position = step.position
            AND action.branch = step.branch AND action.round = 0), mail.payload)"""

#: Deliveries and undos that were given up, the oldest first, by an index of their own; with what each holds up.
DEAD = (
    """
SELECT step.instance_id AS run, instance.saga AS choreography, step.name AS handler, step.event_id AS event,
       mail.name AS type, mail.version, step.position AS number, step.branch, step.round, step.edits, """
    + PAYLOAD
    + """::text AS payload, step.error,
       step.attempts - step.forgiven AS attempts, step.doubt AS in_doubt, step.dead_at,
       step.parked_since IS NOT NULL AS is_parked,
       (SELECT count(*) FROM {s}.saga_step AS held WHERE held.instance_id = step.instance_id
          AND held.branch = step.branch AND held.round = 0 AND held.event_id IS NOT NULL AND held.finished_at IS NULL
          AND held.status = 'held' AND step.round = 0) AS held
FROM {s}.saga_step AS step
JOIN {s}.saga_instance AS instance ON instance.id = step.instance_id
JOIN {s}.saga_inbox AS mail ON mail.instance_id = step.instance_id AND mail.number = step.position
WHERE step.dead_at IS NOT NULL
  AND (CAST(:choreography AS text) IS NULL OR instance.saga = :choreography)
  AND (CAST(:handler AS text) IS NULL OR step.name = :handler)
  AND (CAST(:error AS text) IS NULL OR step.error ->> 'type' = :error)
  AND (CAST(:older_than AS interval) IS NULL OR step.dead_at < clock_timestamp() - CAST(:older_than AS interval))
  AND (CAST(:run AS uuid) IS NULL OR step.instance_id = :run)
ORDER BY step.dead_at, step.instance_id, step.position LIMIT :limit
"""
)

#: What a delivery gets, as it is stored, and by which code it is read.
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

#: Events that no handler gets: they came too late, or were one too many.
UNDELIVERED = """
SELECT mail.instance_id AS run, instance.saga AS choreography, mail.event_id AS event, mail.name AS type, mail.version,
       mail.number,
       mail.payload::text AS payload, mail.letter, mail.consumed_at AS dead_at
FROM {s}.saga_inbox AS mail JOIN {s}.saga_instance AS instance ON instance.id = mail.instance_id
WHERE mail.letter IS NOT NULL AND mail.letter <> 'muted' AND mail.acknowledged_at IS NULL
  AND (CAST(:choreography AS text) IS NULL OR instance.saga = :choreography)
  AND (CAST(:older_than AS interval) IS NULL OR mail.consumed_at < clock_timestamp() - CAST(:older_than AS interval))
  AND (CAST(:run AS uuid) IS NULL OR mail.instance_id = :run)
ORDER BY mail.consumed_at, mail.instance_id, mail.number LIMIT :limit
"""

#: A person has looked at it, with an entry in the history that says why.
ACKNOWLEDGE = """
WITH letter AS (
    UPDATE {s}.saga_inbox SET acknowledged_at = clock_timestamp()
    WHERE instance_id = :run AND number = :number AND letter IS NOT NULL AND letter <> 'muted'
      AND acknowledged_at IS NULL
    RETURNING instance_id
)
INSERT INTO {s}.saga_event (instance_id, event, detail)
SELECT instance_id, 'skip_requested', CAST(:detail AS jsonb) FROM letter RETURNING id
"""
