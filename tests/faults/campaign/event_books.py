"""What must be true of the events of choreographed runs after a campaign (see `books`)."""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any


class Counts(StrEnum):
    """What a violation counts as in the report."""

    LOST = "lost"  # an effect, an undo, a result or a whole saga that should be there
    TWICE = "done twice"
    STUCK = "stuck"
    WRONG = "otherwise wrong"


VIEWS_OF_EVENTS = """
-- The events of runs.
CREATE OR REPLACE VIEW bank.heard AS
SELECT event.*, instance.key AS run, instance.status FROM bank.audited AS instance
JOIN sagas.saga_inbox AS event ON event.instance_id = instance.id AND event.kind = 'event';

-- From the first claim to the end, of the sagas that hold a lock.
CREATE OR REPLACE VIEW bank.held AS
SELECT instance.id, instance.data ->> 'account' AS account, instance.finished_at AS until,
       (SELECT min(first_claimed_at) FROM sagas.saga_step WHERE instance_id = instance.id) AS since
FROM bank.audited AS instance
WHERE saga = 'exclusive' AND finished_at IS NOT NULL AND NOT EXISTS (
    SELECT FROM sagas.saga_event WHERE instance_id = instance.id AND event IN ('late_success', 'late_failure'));
"""

OF_EVENTS: dict[str, tuple[Counts, str]] = {
    "the events of a run have numbers without a gap": (
        Counts.LOST,
        """
        SELECT instance_id::text, format('%s events, the last one has the number %s', count(number), max(number))
        FROM bank.heard GROUP BY instance_id HAVING count(number) <> max(number) OR min(number) <> 1
    """,
    ),
    "no event of a run that has ended waits for its number": (
        Counts.STUCK,
        """
        SELECT instance_id::text, format('%s %s', name, key) FROM bank.heard
        WHERE number IS NULL AND letter IS DISTINCT FROM 'muted' AND status IN ('completed', 'compensated', 'failed')
    """,
    ),
    "no event that was published is lost": (
        Counts.LOST,
        """
        SELECT instance.id::text, published.key FROM bank.published JOIN bank.audited AS instance ON instance.key = run
        WHERE NOT EXISTS (SELECT FROM bank.heard WHERE heard.run = published.run AND heard.key = published.key)
    """,
    ),
    "an event and its transaction are one": (
        Counts.LOST,
        """
        SELECT run, format('%s is missing', key) FROM bank.noted
        WHERE NOT EXISTS (SELECT FROM bank.heard WHERE heard.run = noted.run AND heard.key = noted.key)
          AND EXISTS (SELECT FROM bank.audited WHERE audited.key = run)
    """,
    ),
    "the events of a run are handled in their order": (
        Counts.WRONG,
        """
        SELECT saga_id::text, format('event %s after event %s', number, before)
        FROM (SELECT effect.saga_id, heard.number,
                     lag(heard.number) OVER (PARTITION BY effect.saga_id ORDER BY effect.at) AS before
              FROM bank.effect JOIN bank.heard
                ON heard.instance_id = effect.saga_id AND effect.key = heard.event_id || ':enter') AS entered
        WHERE number < before
    """,
    ),
    "a handler gets each event that came in time": (
        Counts.LOST,
        """
        SELECT heard.instance_id::text, format('%s %s has no delivery', heard.name, heard.number) FROM bank.heard
        WHERE heard.name = 'Noted' AND heard.number IS NOT NULL AND heard.letter IS NULL
          AND NOT EXISTS (SELECT FROM bank.planned WHERE planned.id = heard.instance_id
                          AND planned.key = heard.event_id || ':enter' AND planned.status = 'completed')
          AND heard.status IN ('completed', 'compensated')
    """,
    ),
    "nothing but what comes too late is a dead letter": (
        Counts.WRONG,
        """
        SELECT instance.id::text, format('%s at event %s', step.name, step.position)
        FROM bank.audited AS instance JOIN sagas.saga_step AS step ON step.instance_id = instance.id
        WHERE step.dead_at IS NOT NULL AND instance.status <> 'failed'
        UNION ALL SELECT instance_id::text, format('%s: %s', name, letter) FROM bank.heard
                  WHERE letter NOT IN ('late', 'muted')
    """,
    ),
}


def published(cursor: Any, lines: Iterable[str]) -> None:
    """The events whose publishing returned, by the starter's file."""
    complete = [line.split() for line in lines if re.fullmatch(r"\S+ \d+ (True|False) \.", line)]
    cursor.execute(
        "INSERT INTO bank.published SELECT run, 'note ' || number, joined "
        "FROM unnest(%s::text[], %s::text[], %s::boolean[]) AS said (run, number, joined)",
        tuple([line[column] for line in complete] for column in range(3)),
    )
