"""Named statements of retention (see `statements` for their conventions)."""

#: The moment before which an instance must have ended, by the clock that recorded its end.
CUT_OFF = "SELECT clock_timestamp() - CAST(:older_than AS interval)"

#: Whether a run has a dead letter, or an event that was not delivered or came by a bridge and was refused, which no
#: person has looked at; or one that the other side of a bridge does not have yet.
HAS_LETTERS = """
(EXISTS (SELECT FROM {s}.saga_step WHERE instance_id = old.id AND event_id IS NOT NULL AND dead_at IS NOT NULL)
 OR EXISTS (SELECT FROM {s}.saga_inbox WHERE instance_id = old.id AND letter IS NOT NULL AND letter <> 'muted'
            AND acknowledged_at IS NULL)
 OR EXISTS (SELECT FROM {s}.saga_export WHERE run_id = old.id AND due_at IS NOT NULL)
 OR EXISTS (SELECT FROM {s}.saga_import WHERE run_id = old.id AND acknowledged_at IS NULL
            AND (taken_at IS NULL OR refused IS NOT NULL)))
"""

#: The oldest first, by an index of their own; younger ones are not read. Locked instances are passed over, as are those
#: of another purge. A child comes alone only if its parent was deleted by hand. A tombstone (see `KEEP_KEYS`) has
#: nothing left to purge unless its key is to be purged too; that of a run stays for its time in any case.
PICK_PURGEABLE = (
    """
SELECT id, finished_at FROM {s}.saga_instance AS old
WHERE finished_at < :before AND (finished_at, id) > (:ended, :after)
  AND status IN ('completed', 'compensated') AND due_at IS NULL
  AND (parent_id IS NULL OR (SELECT id FROM {s}.saga_instance AS parent WHERE parent.id = old.parent_id) IS NULL)
  AND NOT (current AND key IS NOT NULL AND starts_with(plan_hash, 'purged ')
           AND (:keep_keys OR (numbered IS NOT NULL AND finished_at >= :before - CAST(:remembered AS interval))))
  AND (numbered IS NULL OR NOT """
    + HAS_LETTERS
    + """)
ORDER BY finished_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
"""
)

#: Parents were locked before, and have ended: no further child is born. Never waits, so any order is right.
LOCK_CHILDREN = """
SELECT id, parent_id FROM {s}.saga_instance WHERE parent_id = ANY (CAST(:parents AS uuid[])) FOR UPDATE SKIP LOCKED
"""

#: A separate statement, which sees the locked rows as they are now, and the children that others have locked. A family
#: is purged as a whole or not at all: a child's steps are its parent's to undo. Signals that no step waited for count
#: as read once they were seen; an event has been read when it has its number. A letter may have come before the lock.
#: Counted, since EXISTS might be answered by reading whole tables.
LOOK_AT_MEMBERS = (
    """
SELECT id, parent_id, current AND key IS NOT NULL
           AND (:keep_keys OR (numbered IS NOT NULL AND NOT starts_with(plan_hash, 'purged '))) AS keeps_key,
       status IN ('completed', 'compensated') AND finished_at < :before AND due_at IS NULL
       AND (SELECT count(*) FROM {s}.saga_lock WHERE instance_id = member.id) = 0
       AND (SELECT count(*) FROM {s}.saga_step
            WHERE instance_id = member.id AND status IN ('pending', 'running')) = 0
       AND (SELECT count(*) FROM {s}.saga_inbox
            WHERE instance_id = member.id AND consumed_at IS NULL AND (seen_at IS NULL OR kind = 'event')) = 0
       AND (SELECT count(*) FROM {s}.saga_instance AS old
            WHERE old.id = member.id AND old.numbered IS NOT NULL AND """
    + HAS_LETTERS
    + """) = 0 AS is_over
FROM {s}.saga_instance AS member WHERE id = ANY (CAST(:ids AS uuid[])) OR parent_id = ANY (CAST(:ids AS uuid[]))
"""
)

#: Consumed mail without a key has been deleted already, but for a run's events: four conditions, each with its own
#: index, cover the rest. An event without a number stays: it was committed since the look at the members, and is late.
PURGE = """
WITH mail AS (
    DELETE FROM {s}.saga_inbox
    WHERE ((instance_id = ANY (CAST(:ids AS uuid[])) AND consumed_at IS NULL)
        OR (instance_id = ANY (CAST(:ids AS uuid[])) AND key IS NOT NULL)
        OR (instance_id = ANY (CAST(:ids AS uuid[])) AND number IS NOT NULL)
        OR (instance_id = ANY (CAST(:ids AS uuid[])) AND letter IS NOT NULL))
      AND (kind <> 'event' OR consumed_at IS NOT NULL)
), events AS (
    DELETE FROM {s}.saga_event WHERE instance_id = ANY (CAST(:ids AS uuid[]))
), records AS (
    DELETE FROM {s}.saga_record WHERE instance_id = ANY (CAST(:ids AS uuid[]))
), steps AS (
    DELETE FROM {s}.saga_step WHERE instance_id = ANY (CAST(:ids AS uuid[]))
), exports AS (
    DELETE FROM {s}.saga_export WHERE run_id = ANY (CAST(:ids AS uuid[]))
)
DELETE FROM {s}.saga_instance WHERE id = ANY (CAST(:ids AS uuid[])) AND NOT id = ANY (CAST(:keep AS uuid[]))
"""

#: A tombstone: an ended instance whose plan has no steps any more. It keeps its key, its status and its times. That
#: of a run numbers what comes late, for which its plan has no hearers.
KEEP_KEYS = """
WITH tombstone AS (
    UPDATE {s}.saga_instance
    SET plan = CASE WHEN numbered IS NULL
                    THEN jsonb_build_object('saga', saga, 'version', version, 'steps', '[]'::jsonb)
                    ELSE jsonb_build_object('choreography', saga, 'version', version, 'starts', plan -> 'starts',
                        'handlers', '[]'::jsonb, 'events', jsonb_build_array(jsonb_build_object(
                            'type', plan -> 'starts', 'version', 1, 'fields', '[]'::jsonb))) END,
        plan_hash = 'purged ' || plan_hash, data = '{}', error = NULL, stop = NULL, written = NULL, headers = NULL,
        closed = CASE WHEN numbered IS NOT NULL THEN '{}'::jsonb END, came = NULL, updated_at = clock_timestamp()
    WHERE id = ANY (CAST(:keep AS uuid[]))
    RETURNING id
)
INSERT INTO {s}.saga_event (instance_id, event) SELECT id, 'purged' FROM tombstone
"""

#: Mail to instances that were deleted by hand, and late or early events that a person has dealt with. Mail that comes
#: after a purge is unseen, and the sweep deletes it.
FORGET_ABANDONED_MAIL = """
DELETE FROM {s}.saga_inbox WHERE id IN (
    SELECT id FROM {s}.saga_inbox AS mail
    WHERE (kind <> 'event' OR acknowledged_at IS NOT NULL) AND sent_at < :before
      AND NOT EXISTS (
          SELECT FROM {s}.saga_instance WHERE id = mail.instance_id AND NOT starts_with(plan_hash, 'purged '))
    LIMIT :limit FOR UPDATE SKIP LOCKED)
"""

#: An event that came by a bridge is remembered for as long as its run, and for 30 days at least: it may come again.
FORGET_IMPORTS = """
DELETE FROM {s}.saga_import WHERE (bridge, event_id) IN (
    SELECT bridge, event_id FROM {s}.saga_import AS old
    WHERE received_at < :before AND received_at < clock_timestamp() - interval '31 days' AND taken_at IS NOT NULL
      AND (refused IS NULL OR acknowledged_at IS NOT NULL)
      AND NOT EXISTS (SELECT FROM {s}.saga_instance WHERE id = old.run_id)
    LIMIT :limit FOR UPDATE SKIP LOCKED)
"""
