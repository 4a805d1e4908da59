"""Named statements of lists (see `statements` for their conventions): parts that each list combines.

None of them reads instances that have ended, however many there are: each condition on few rows has an index that
leads to them, and every other list is read in the order of ``saga_instance_listed``, as far as its page goes.
"""

import re

#: The sweep's error for an instance in flight that it could not read; null for any other.
WHY_UNREADABLE = """
CASE WHEN instance.due_at IS NOT NULL AND instance.unreadable_at IS NOT NULL THEN (
    SELECT failed.detail ->> 'message' FROM {s}.saga_event AS failed
    WHERE failed.instance_id = instance.id AND failed.event = 'sweep_failed' ORDER BY failed.id DESC LIMIT 1) END
"""

#: The row's columns, except that a claim does not touch the status: an instance with a claimed step is running.
LISTED = """
SELECT page.id, page.saga, page.version, page.key, page.parent_id, page.created_at, page.finished_at,
       CASE WHEN page.status = 'pending' AND (
                SELECT count(begun.first_claimed_at) FROM {s}.saga_step AS begun WHERE begun.instance_id = page.id) > 0
            THEN 'running' ELSE page.status END AS status,
       page.unreadable_at, page.unreadable
FROM """

#: The same for an instance with a time that Python cannot hold.
LISTED_ANYHOW = re.sub(
    r"page\.(created_at|finished_at)",
    r"CASE WHEN page.\1 BETWEEN '0001-01-02' AND '9999-12-30' THEN page.\1 "
    r"WHEN page.\1 IS NOT NULL THEN '0001-01-02 00:00:00+00' END AS \1",
    LISTED,
)

IDS_LISTED = "SELECT page.id FROM "

#: One probe of an index each.
SAGA_NAMES = """
WITH RECURSIVE name (saga) AS (
    SELECT min(saga) FROM {s}.saga_instance
    UNION ALL
    SELECT (SELECT min(next.saga) FROM {s}.saga_instance AS next WHERE next.saga > name.saga)
    FROM name WHERE name.saga IS NOT NULL
)
SELECT saga FROM name WHERE saga IS NOT NULL
"""

#: The newest that meet the conditions.
NEWEST = (
    """
    SELECT instance.id, instance.saga, instance.version, instance.key, instance.status, instance.parent_id,
           instance.created_at, instance.finished_at,
           CASE WHEN instance.due_at IS NOT NULL THEN instance.unreadable_at END AS unreadable_at, """
    + WHY_UNREADABLE
    + """ AS unreadable
    FROM {s}.saga_instance AS instance WHERE {conditions}
    ORDER BY instance.created_at DESC, instance.id DESC LIMIT :limit
"""
)
IN_ORDER = ") AS page ORDER BY page.created_at DESC, page.id DESC LIMIT :limit"
PAGE = "(" + NEWEST + IN_ORDER

#: The same if no saga is named: the newest of each, by its own part of the indexes.
OF_NAMED = "instance.saga = name.saga"
PAGE_OF_EACH_SAGA = "(" + SAGA_NAMES + ") AS name CROSS JOIN LATERAL (" + NEWEST + IN_ORDER

# -- The conditions

ANY_INSTANCE = "true"
ITSELF = "instance.id = CAST(:id AS uuid)"
OF_SAGA = "instance.saga = :saga"
OLDER = "instance.created_at < statement_timestamp() - CAST(:older_than AS interval)"
AFTER = "(instance.created_at, instance.id) < (CAST(:after_at AS timestamptz), CAST(:after_id AS uuid))"

#: Counted, since EXISTS might be answered by reading the whole table of steps.
IS_PENDING = """
(instance.due_at IS NOT NULL AND instance.status = 'pending' AND (
    SELECT count(begun.first_claimed_at) FROM {s}.saga_step AS begun WHERE begun.instance_id = instance.id) = 0)
"""
IS_RUNNING = """
(instance.due_at IS NOT NULL AND (instance.status = 'running' OR (instance.status = 'pending' AND (
    SELECT count(begun.first_claimed_at) FROM {s}.saga_step AS begun WHERE begun.instance_id = instance.id) > 0)))
"""
IS_COMPLETED = "instance.status = 'completed' AND instance.finished_at IS NOT NULL"
IS_SET_BACK = "instance.setback = :status"

#: The current instance of a key and the former ones, which have an index each.
HAS_KEY = "((instance.current AND instance.key = :key) OR (NOT instance.current AND instance.key = :key))"

#: The beginning of a key, or the beginnings of words that are all in the error, or in the error of a step that failed
#: for good. Rows with such an error are found first: no statistics tell how many there are, and if there were none,
#: every row would be looked at. Failed instances are few, so all their steps are looked at.
QUERY = r"""to_tsquery('simple', nullif(regexp_replace(btrim(regexp_replace(
             CAST(:text AS text), '\W+', ' ', 'g')), ' ', ':* & ', 'g'), '') || ':*')"""
HAS_TEXT = (
    r"""
((instance.current AND instance.key LIKE :beginning) OR (NOT instance.current AND instance.key LIKE :beginning)
 OR instance.id = ANY (ARRAY(
     SELECT wrong.id FROM {s}.saga_instance AS wrong
     WHERE wrong.error IS NOT NULL AND to_tsvector('simple', regexp_replace(
             left((wrong.error ->> 'type') || ' ' || (wrong.error ->> 'message'), 4000), '\W+', ' ', 'g'))
         @@ """
    + QUERY
    + r"""
     UNION ALL
     SELECT failed.id FROM {s}.saga_instance AS failed JOIN {s}.saga_step AS step ON step.instance_id = failed.id
     WHERE failed.setback = 'failed' AND step.status = 'failed' AND to_tsvector('simple', regexp_replace(
             left((step.error ->> 'type') || ' ' || (step.error ->> 'message'), 4000), '\W+', ' ', 'g'))
         @@ """
    + QUERY
    + ")))\n"
)

#: It waits at the step, runs it or its compensation, or is failed and one of these has failed. Three indexes.
STANDS_AT = """
instance.id IN (
    SELECT step.instance_id FROM {s}.saga_step AS step
    WHERE step.name = :step AND step.finished_at IS NULL AND step.task IS NULL
    UNION ALL
    SELECT step.instance_id FROM {s}.saga_step AS step
    WHERE step.name = :step AND step.finished_at IS NULL AND step.task IS NOT NULL
    UNION ALL
    SELECT step.instance_id FROM {s}.saga_instance AS failed JOIN {s}.saga_step AS step ON step.instance_id = failed.id
    WHERE failed.setback = 'failed' AND step.name = :step AND step.status = 'failed')
"""

#: It has failed or cannot be read, or waits for such a child saga, at any depth.
NEEDS_PERSON = """
instance.id IN (
    WITH RECURSIVE waiting (id, parent_id) AS (
        (SELECT failed.id, failed.parent_id FROM {s}.saga_instance AS failed WHERE failed.setback = 'failed'
         UNION ALL
         SELECT damaged.id, damaged.parent_id FROM {s}.saga_instance AS damaged
         WHERE damaged.unreadable_at IS NOT NULL AND damaged.due_at IS NOT NULL)
        UNION
        SELECT above.id, above.parent_id FROM waiting JOIN {s}.saga_instance AS above ON above.id = waiting.parent_id
        WHERE above.due_at IS NOT NULL
    )
    SELECT id FROM waiting)
"""

#: It stands still, whether it has been looked at since or not. A release that knows no quiet runs may have ended it.
IS_QUIET = "(instance.quiet_from <= statement_timestamp() AND instance.finished_at IS NULL)"

#: Why the instances of a page need a person, and then why they turned back. One that goes forward has no error.
REASONS = (
    """
SELECT instance.id, concat_ws('; ',
    (SELECT string_agg('compensation of ' || undo.name || ': ' || coalesce(
                (undo.error ->> 'type') || ': ' || (undo.error ->> 'message'), 'it waits for an answer'), '; '
                ORDER BY undo.position DESC, undo.branch DESC)
     FROM {s}.saga_step AS undo
     WHERE instance.setback = 'failed' AND undo.instance_id = instance.id AND undo.round > 0
       AND undo.status = 'failed'),
    """
    + WHY_UNREADABLE
    + """,
    CASE WHEN instance.error IS NOT NULL THEN
        concat(instance.error ->> 'type', ': ', instance.error ->> 'message',
               ' (in step ' || (instance.error ->> 'step') || ')') END) AS why
FROM {s}.saga_instance AS instance
WHERE instance.id = ANY (CAST(:ids AS uuid[]))
  AND (instance.error IS NOT NULL OR (instance.due_at IS NOT NULL AND instance.unreadable_at IS NOT NULL))
"""
)
