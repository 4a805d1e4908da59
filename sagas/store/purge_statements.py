"""The named statements of retention (see `statements` for their manners)."""

#: When an instance has to have ended, by the clock that has written down when it did.
CUT_OFF = "SELECT clock_timestamp() - CAST(:older_than AS interval)"

#: The oldest first, by an index of their own; what is younger is not read. Whoever is being looked at is passed over,
#: and so are those that another purge has. A child comes alone only if somebody has deleted its parent by hand. A
#: tombstone (see `KEEP_KEYS`) has nothing more to give unless its key is to go too.
PICK_PURGEABLE = """
SELECT id, finished_at FROM {s}.saga_instance AS old
WHERE finished_at < :before AND (finished_at, id) > (:ended, :after)
  AND status IN ('completed', 'compensated') AND due_at IS NULL
  AND (parent_id IS NULL OR (SELECT id FROM {s}.saga_instance AS parent WHERE parent.id = old.parent_id) IS NULL)
  AND NOT (:keep_keys AND current AND key IS NOT NULL AND plan -> 'steps' = '[]')
ORDER BY finished_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
"""

#: Parents are locked before, and have ended: no further child is born. Never waits, so any order is right.
LOCK_CHILDREN = """
SELECT id, parent_id FROM {s}.saga_instance WHERE parent_id = ANY (CAST(:parents AS uuid[])) FOR UPDATE SKIP LOCKED
"""

#: A statement of its own, which sees what is locked as it is now; and the children that somebody else has. A family
#: goes as a whole or not at all: a child's steps are its parent's to undo. Signals that no step has waited for count as
#: read once they were seen. Counted, not asked whether they exist: that might be answered by reading whole tables.
LOOK_AT_MEMBERS = """
SELECT id, parent_id, :keep_keys AND current AND key IS NOT NULL AS keeps_key,
       status IN ('completed', 'compensated') AND finished_at < :before AND due_at IS NULL
       AND (SELECT count(*) FROM {s}.saga_lock WHERE instance_id = member.id) = 0
       AND (SELECT count(*) FROM {s}.saga_step
            WHERE instance_id = member.id AND status IN ('pending', 'running')) = 0
       AND (SELECT count(*) FROM {s}.saga_inbox
            WHERE instance_id = member.id AND consumed_at IS NULL AND seen_at IS NULL) = 0 AS is_over
FROM {s}.saga_instance AS member WHERE id = ANY (CAST(:ids AS uuid[])) OR parent_id = ANY (CAST(:ids AS uuid[]))
"""

#: What was consumed and has no key is not there any more: the two conditions, which are two indexes', are all there is.
PURGE = """
WITH mail AS (
    DELETE FROM {s}.saga_inbox WHERE (instance_id = ANY (CAST(:ids AS uuid[])) AND consumed_at IS NULL)
                                  OR (instance_id = ANY (CAST(:ids AS uuid[])) AND key IS NOT NULL)
), events AS (
    DELETE FROM {s}.saga_event WHERE instance_id = ANY (CAST(:ids AS uuid[]))
), records AS (
    DELETE FROM {s}.saga_record WHERE instance_id = ANY (CAST(:ids AS uuid[]))
), steps AS (
    DELETE FROM {s}.saga_step WHERE instance_id = ANY (CAST(:ids AS uuid[]))
)
DELETE FROM {s}.saga_instance WHERE id = ANY (CAST(:ids AS uuid[])) AND NOT id = ANY (CAST(:keep AS uuid[]))
"""

#: A tombstone: an ended instance whose plan has no steps any more. It has its key, its status and its times.
KEEP_KEYS = """
WITH tombstone AS (
    UPDATE {s}.saga_instance
    SET plan = jsonb_build_object('saga', saga, 'version', version, 'steps', '[]'::jsonb),
        plan_hash = 'purged ' || plan_hash, data = '{}', error = NULL, stop = NULL, written = NULL, headers = NULL,
        updated_at = clock_timestamp()
    WHERE id = ANY (CAST(:keep AS uuid[]))
    RETURNING id
)
INSERT INTO {s}.saga_event (instance_id, event) SELECT id, 'purged' FROM tombstone
"""

#: Mail to instances that somebody has deleted by hand. What comes after a purge is unseen, and the sweep forgets it.
FORGET_ABANDONED_MAIL = """
DELETE FROM {s}.saga_inbox WHERE id IN (
    SELECT id FROM {s}.saga_inbox AS mail
    WHERE sent_at < :before AND NOT EXISTS (SELECT FROM {s}.saga_instance WHERE id = mail.instance_id)
    LIMIT :limit FOR UPDATE SKIP LOCKED)
"""
