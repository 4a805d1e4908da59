"""Named statements about handlers that only fail, and about alerts of dead letters (see `statements`)."""

# -- Pausing

#: A delivery was given up. A handler that has given up so many in a row, and done none, is paused; a probe that is
#: given up leaves it so.
NOTE_DEATH = """
INSERT INTO {s}.saga_handler AS known (choreography, handler, dead_in_row, last_error)
VALUES (:choreography, :handler, 1, :error)
ON CONFLICT (choreography, handler) DO UPDATE
SET dead_in_row = known.dead_in_row + 1, last_error = excluded.last_error,
    paused_at = CASE WHEN known.dead_in_row + 1 >= :most THEN coalesce(known.paused_at, clock_timestamp()) END,
    paused_until = CASE WHEN known.dead_in_row + 1 >= :most THEN
        greatest(known.paused_until, clock_timestamp() + make_interval(secs => known.pause_seconds)) END
RETURNING dead_in_row, paused_until
"""

#: Once a pause is over one delivery may begin: the one that writes the end of the next pause, which is twice as long.
TAKE_PROBE = """
UPDATE {s}.saga_handler SET paused_until = clock_timestamp() + make_interval(secs => pause_seconds),
    pause_seconds = least(2 * pause_seconds, :longest)
WHERE choreography = :choreography AND handler = :handler AND paused_until <= clock_timestamp()
RETURNING handler
"""

#: A delivery was done, or a person says that it goes on. Returns since when it was paused, if it was.
RESUME = """
WITH former AS (
    SELECT paused_at FROM {s}.saga_handler
    WHERE choreography = :choreography AND handler = :handler AND dead_in_row > 0 FOR UPDATE
), resumed AS (
    UPDATE {s}.saga_handler SET dead_in_row = 0, paused_at = NULL, paused_until = NULL, pause_seconds = DEFAULT
    FROM former WHERE choreography = :choreography AND handler = :handler
)
SELECT paused_at FROM former
"""

#: Deliveries that wait for the end of a pause begin now: some of them at a time, each with its run locked first. Runs
#: that are locked just now are passed over; returns how many were not, and how many there are in all.
HURRY = """
WITH waiting AS MATERIALIZED (
    SELECT DISTINCT step.instance_id FROM {s}.saga_step AS step
    JOIN {s}.saga_instance AS own
      ON own.id = step.instance_id AND own.saga = :choreography AND own.due_at IS NOT NULL
    WHERE step.name = :handler AND step.event_id IS NOT NULL AND step.finished_at IS NULL AND step.task IS NOT NULL
      AND step.status = 'pending' AND step.not_before > clock_timestamp() AND step.dispatched_at IS NULL LIMIT :limit
), run AS MATERIALIZED (
    SELECT id FROM {s}.saga_instance
    WHERE id IN (SELECT instance_id FROM waiting) AND due_at IS NOT NULL FOR UPDATE SKIP LOCKED
), due AS (
    UPDATE {s}.saga_instance AS instance SET due_at = clock_timestamp() FROM run WHERE instance.id = run.id
), begun AS (
    UPDATE {s}.saga_step AS step SET not_before = NULL FROM run
    WHERE step.instance_id = run.id AND step.name = :handler AND step.status = 'pending'
      AND step.dispatched_at IS NULL
)
SELECT (SELECT count(*) FROM run) AS hurried, (SELECT count(*) FROM waiting) AS found
"""

#: The same of one run, whose lock it waits for.
HURRY_ONE = HURRY.replace(" SKIP LOCKED", "")

IS_PAUSED = """
SELECT EXISTS (SELECT FROM {s}.saga_handler
               WHERE choreography = :choreography AND handler = :handler AND paused_until IS NOT NULL)
"""

PAUSED = """
SELECT choreography, handler, paused_at, paused_until, last_error FROM {s}.saga_handler
WHERE paused_until IS NOT NULL AND (CAST(:choreography AS text) IS NULL OR choreography = :choreography)
ORDER BY choreography, handler
"""

# -- Alerts: at once, and then one a minute for each choreography, handler and type of error

#: Says whether an alert is due; if not, the sweep tells of the further ones once it is.
RAISE_ALARM = """
INSERT INTO {s}.saga_alarm AS known (choreography, handler, error) VALUES (:choreography, :handler, :error)
ON CONFLICT (choreography, handler, error) DO UPDATE
SET more = known.told_at > clock_timestamp() - CAST(:pause AS interval),
    former_at = CASE WHEN known.told_at > clock_timestamp() - CAST(:pause AS interval)
                     THEN known.former_at ELSE known.told_at END,
    told_at = CASE WHEN known.told_at > clock_timestamp() - CAST(:pause AS interval)
                   THEN known.told_at ELSE clock_timestamp() END
RETURNING choreography, handler, error, former_at, NOT more AS is_due,
          CAST(extract(epoch FROM told_at + CAST(:pause AS interval) - clock_timestamp()) AS float8) AS seconds_left
"""

#: A part of the statement that begins each pass of the sweep. There are as many rows as kinds of failure.
HAS_ALARMS = """
EXISTS (SELECT FROM {s}.saga_alarm WHERE more AND told_at <= clock_timestamp() - CAST(:alarm_pause AS interval))
"""

TAKE_ALARMS = """
UPDATE {s}.saga_alarm SET former_at = told_at, told_at = clock_timestamp(), more = false
WHERE more AND told_at <= clock_timestamp() - CAST(:pause AS interval)
RETURNING choreography, handler, error, former_at
"""

#: The letters since the former alert, up to a limit, and the first of them. Without a handler they are events.
SINCE = """
SELECT count(*) AS n, (array_agg(found.id ORDER BY found.at))[1] AS first FROM (
    SELECT * FROM (
        SELECT step.instance_id || ':' || step.position || '.' || step.branch || '.' || step.round AS id,
               step.dead_at AS at
        FROM {s}.saga_step AS step JOIN {s}.saga_instance AS run ON run.id = step.instance_id
        WHERE :handler <> '' AND step.dead_at > :since AND step.name = :handler AND run.saga = :choreography
          AND coalesce(step.error ->> 'type', '') = :error
        UNION ALL
        SELECT mail.instance_id || ':' || coalesce(mail.number::text, mail.event_id::text), mail.consumed_at
        FROM {s}.saga_inbox AS mail LEFT JOIN {s}.saga_instance AS run ON run.id = mail.instance_id
        WHERE :handler = '' AND mail.letter = :error AND mail.acknowledged_at IS NULL AND mail.consumed_at > :since
          AND coalesce(run.saga, mail.choreography) = :choreography) AS each
    LIMIT :limit) AS found
"""
