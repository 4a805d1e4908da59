"""Named statements about bridges to other services (see `statements` for their conventions).

Events leave in the transaction that numbers them, under the lock of their run, so their index has no gaps. Those that
come are taken in the order of their index, under an advisory lock, and published into their runs like any event.
"""

#: The events that were just given a number and leave by a bridge. Those that came by it never go back.
EXPORT = """
INSERT INTO {s}.saga_export (bridge, run_id, index, number)
SELECT :bridge, :run_id, leaving.place + coalesce((
           SELECT max(former.index) FROM {s}.saga_export AS former
           WHERE former.bridge = :bridge AND former.run_id = :run_id), 0),
       leaving.number
FROM (SELECT number, row_number() OVER (ORDER BY number) AS place FROM {s}.saga_inbox
      WHERE instance_id = :run_id AND number > :before AND letter IS NULL
        AND name = ANY (CAST(:types AS text[])) AND sent_by <> :came_by) AS leaving
ORDER BY leaving.number
"""

#: Events to be sent, in the order of their birth, with everything that their messages say.
DUE = """
SELECT export.id, export.run_id, export.index AS place, event.event_id, event.name AS type, event.version,
       event.payload::text AS payload, event.sent_at AS time, event.depth, run.key, run.saga,
       coalesce(run.correlation_id, run.id) AS correlation_id,
       coalesce((SELECT cause.event_id::text FROM {s}.saga_inbox AS cause
                 WHERE cause.instance_id = event.instance_id AND cause.number = event.cause), event.caused_by) AS cause,
       run.headers -> 'top' ->> 'traceparent' AS traceparent, run.headers -> 'top' ->> 'tracestate' AS tracestate
FROM {s}.saga_export AS export
JOIN {s}.saga_inbox AS event ON event.instance_id = export.run_id AND event.number = export.number
JOIN {s}.saga_instance AS run ON run.id = export.run_id
WHERE export.bridge = :bridge AND export.due_at <= clock_timestamp()
ORDER BY export.id LIMIT :limit
"""

#: Sent, and not known to be received: sent again at growing intervals, since the broker may lose them.
SENT = """
UPDATE {s}.saga_export SET sent_at = clock_timestamp(), tries = tries + 1,
    due_at = clock_timestamp() + least(make_interval(secs => 15 * power(2, least(tries, 10))), interval '10 minutes')
WHERE id = ANY (CAST(:ids AS bigint[])) AND received_at IS NULL
"""

SKIPPED = "UPDATE {s}.saga_export SET skipped = :why WHERE id = :id"

#: The other side has stored them; or they were sent by a function, which brings no receipts.
RECEIVED = """
UPDATE {s}.saga_export AS export SET received_at = clock_timestamp(), due_at = NULL
FROM unnest(CAST(:runs AS uuid[]), CAST(:indexes AS int[])) AS told (run_id, index)
WHERE export.bridge = :bridge AND export.run_id = told.run_id AND export.index = told.index
  AND export.received_at IS NULL
"""

SEND_AGAIN = """
UPDATE {s}.saga_export SET due_at = clock_timestamp(), received_at = NULL
WHERE bridge = :bridge AND run_id = :run_id
"""

# -- What comes

#: Lets all processes take the events of one run of the other side one after the other.
LOCK_STREAM = "SELECT pg_advisory_xact_lock(hashtextextended(:bridge || CAST(:run_there AS text), 0))"

#: A second message with an id does nothing. One with the index of another event has no index, and is refused.
IMPORT = """
INSERT INTO {s}.saga_import (bridge, event_id, run_there, run_id, index, message, refused)
SELECT :bridge, :event_id, :run_there, :run_id, CASE WHEN NOT place.is_taken THEN CAST(:index AS int) END, :message,
       CASE WHEN place.is_taken THEN 'another event has come with index ' || CAST(:index AS int) || ' of its run'
            ELSE CAST(:refused AS text) END
FROM (SELECT EXISTS (SELECT FROM {s}.saga_import WHERE bridge = :bridge AND run_there = :run_there
                       AND index = CAST(:index AS int)) AS is_taken) AS place
ON CONFLICT (bridge, event_id) DO NOTHING
RETURNING event_id
"""

#: The event whose turn it is.
NEXT = """
SELECT event_id, run_id, message, refused FROM {s}.saga_import
WHERE bridge = :bridge AND run_there = :run_there AND taken_at IS NULL AND index = 1 + coalesce((
    SELECT max(former.index) FROM {s}.saga_import AS former
    WHERE former.bridge = :bridge AND former.run_there = :run_there AND former.taken_at IS NOT NULL), 0)
"""

TAKE = """
UPDATE {s}.saga_import SET taken_at = clock_timestamp(), refused = CAST(:refused AS text),
    message = CASE WHEN CAST(:refused AS text) IS NOT NULL THEN message END
WHERE bridge = :bridge AND event_id = :event_id
"""

#: The index for which the others of a run wait.
MISSING = """
SELECT 1 + coalesce(max(index) FILTER (WHERE taken_at IS NOT NULL), 0) AS missing,
       min(index) FILTER (WHERE taken_at IS NULL) AS first_held
FROM {s}.saga_import WHERE bridge = :bridge AND run_there = :run_there
"""

SETTLE_REFUSAL = """
UPDATE {s}.saga_import SET acknowledged_at = clock_timestamp()
WHERE bridge = :bridge AND event_id = :event_id AND refused IS NOT NULL AND acknowledged_at IS NULL
"""

# -- How a bridge stands

DROPPED = """
INSERT INTO {s}.saga_bridge AS bridge (name, dropped, dropped_at, dropped_for)
VALUES (:bridge, 1, clock_timestamp(), :why)
ON CONFLICT (name) DO UPDATE
SET dropped = bridge.dropped + 1, dropped_at = clock_timestamp(), dropped_for = excluded.dropped_for
"""

CLOSED = """
INSERT INTO {s}.saga_bridge AS bridge (name, closed_until, error)
VALUES (:bridge, clock_timestamp() + make_interval(secs => :seconds), :error)
ON CONFLICT (name) DO UPDATE SET closed_until = excluded.closed_until, error = excluded.error
"""

OPENED = "UPDATE {s}.saga_bridge SET closed_until = NULL, error = NULL WHERE name = :bridge AND error IS NOT NULL"

HOW_BRIDGES_STAND = """
SELECT named.name, state.closed_until, state.error, coalesce(state.dropped, 0) AS dropped, state.dropped_at,
       state.dropped_for,
       (SELECT count(*) FROM {s}.saga_export WHERE bridge = named.name AND due_at IS NOT NULL) AS leaving,
       (SELECT min(born_at) FROM {s}.saga_export WHERE bridge = named.name AND due_at IS NOT NULL) AS leaving_since,
       (SELECT count(*) FROM {s}.saga_import WHERE bridge = named.name AND taken_at IS NULL) AS held,
       (SELECT min(received_at) FROM {s}.saga_import WHERE bridge = named.name AND taken_at IS NULL) AS held_since,
       (SELECT count(*) FROM {s}.saga_import
        WHERE bridge = named.name AND refused IS NOT NULL AND acknowledged_at IS NULL) AS refused
FROM unnest(CAST(:names AS text[])) AS named (name) LEFT JOIN {s}.saga_bridge AS state ON state.name = named.name
ORDER BY 1
"""

#: Events that were refused and that no person has looked at, and those that wait for an earlier one.
ENTRIES = """
SELECT event_id, run_there, run_id, index AS place, received_at, refused, taken_at IS NULL AS is_held, message,
       CASE WHEN taken_at IS NULL AND refused IS NULL THEN 1 + coalesce((
           SELECT max(former.index) FROM {s}.saga_import AS former WHERE former.bridge = entry.bridge
             AND former.run_there = entry.run_there AND former.taken_at IS NOT NULL), 0) END AS waits_for
FROM {s}.saga_import AS entry
WHERE bridge = :bridge AND acknowledged_at IS NULL AND (taken_at IS NULL OR refused IS NOT NULL)
ORDER BY received_at, index LIMIT :limit
"""
