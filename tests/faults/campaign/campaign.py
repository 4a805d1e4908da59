"""One campaign from its first process to its report."""

import re
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults.campaign import books, event_books
from tests.faults.campaign.fault_environment import FaultEnvironment
from tests.faults.campaign.fault_runner import FaultRunner, Strike
from tests.faults.campaign.operations import faketime
from tests.faults.campaign.operator import Operator, operator
from tests.faults.campaign.recoveries import Loss
from tests.faults.campaign.report import Report
from tests.faults.campaign.settings import Settings

NAMED = """
SELECT CASE WHEN data ? 'impossible' THEN 'its undo was made impossible: ' || (data ->> 'impossible')
            ELSE 'its pivot said no after a try that left doubt' END, count(*)
FROM bank.audited WHERE status = 'failed' GROUP BY 1
"""
ENDS = "SELECT saga, status, count(*) FROM bank.audited GROUP BY 1, 2 ORDER BY 1, 2"
#: Executions that were claimed, and the messages that brought them: one message may bring several where they go inline.
MESSAGES = """
SELECT count(*), count(DISTINCT delivery) FROM sagas.saga_step WHERE delivery IS NOT NULL AND status = 'completed'
"""
EVENTS = "SELECT event, count(*) FROM sagas.saga_event GROUP BY 1 ORDER BY 2 DESC"
ERRORS = """
SELECT event || ' ' || round || ': ' || coalesce(detail ->> 'type', '') || ': ' || left(regexp_replace(
           split_part(coalesce(detail ->> 'message', detail ->> 'reason', ''), E'\\n', 1),
           '[0-9a-f-]{36}|[0-9]+', '#', 'g'), 90), count(*)
FROM (SELECT event, coalesce(round, 0) AS round, detail FROM sagas.saga_event
      WHERE event IN ('attempt_failed', 'sweep_failed', 'parked', 'needs_a_person')) AS failed
GROUP BY 1 ORDER BY 2 DESC LIMIT 40
"""
#: What makes lines of a log differ that say the same.
PARTICULARS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+")
WORTH_TELLING = re.compile(r"(WARNING|ERROR|CRITICAL)[/ ].*|^(\w+\.)*\w*(Error|Exception|Exit)\b.*")


def run(settings: Settings) -> Report:
    """A campaign; whatever happens, no process and no directory is left."""
    directory = Path(tempfile.mkdtemp(prefix="sagas-campaign-"))
    directory.chmod(0o755)
    former = signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
    try:
        with FaultEnvironment(settings, directory) as environment:
            return perform(environment)
    finally:
        signal.signal(signal.SIGTERM, former)
        if settings.logs is not None:
            settings.logs.mkdir(parents=True, exist_ok=True)
            for log in [*directory.glob("*.log"), directory / "returned"]:
                if log.exists():
                    shutil.copy(log, settings.logs)
        shutil.rmtree(directory, ignore_errors=True)


def perform(environment: FaultEnvironment) -> Report:
    with FaultRunner(environment) as runner:
        return conduct(environment, runner)


def conduct(environment: FaultEnvironment, runner: FaultRunner) -> Report:
    runner.pile_up()
    runner.measure()
    runner.play()
    print(f"{runner.now:7.1f} s  no more faults; settling", flush=True)
    minutes = runner.now / 60
    settled_after = runner.settle()
    with operator(environment) as an_operator:
        mended = an_operator.mend() if settled_after is not None else []
        if mended and runner.settle() is None:
            settled_after = None
        # A worker that was declared dead while it was frozen may still have something to say.
        runner.linger(3.0)
        violations = keep_books(environment, mended)
        report = make_report(environment, runner, minutes, settled_after, violations, mended)
        tell(report, runner, an_operator)
    return report


def keep_books(environment: FaultEnvironment, mended: list[Any]) -> list[books.Violation]:
    environment.ask_patiently("SELECT 1")
    cursor = environment.cursor()
    # Ten thousand sagas take a while.
    cursor.execute("SET statement_timeout = '10min'; ANALYZE")
    books.insert_planned(cursor, environment.settings.seed, environment.settings.sagas)
    books.returned(cursor, lines_of(environment, "returned"))
    event_books.published(cursor, lines_of(environment, "published"))
    violations = books.audit(cursor)
    cursor.execute(
        "SELECT id::text, status FROM sagas.saga_instance WHERE id = ANY (%s::uuid[]) AND status <> 'compensated'",
        ([str(saga_id) for saga_id in mended],),
    )
    return violations + [books.Violation("who was mended is compensated", *row) for row in cursor.fetchall()]


def lines_of(environment: FaultEnvironment, name: str) -> list[str]:
    """What the starter has written into a file."""
    file = environment.directory / name
    return file.read_text().splitlines() if file.exists() else []


def make_report(
    environment: FaultEnvironment,
    runner: FaultRunner,
    minutes: float,
    settled_after: float | None,
    violations: list[books.Violation],
    mended: list[Any],
) -> Report:
    ends: dict[str, dict[str, int]] = {}
    for saga, status, count in environment.ask_patiently(ENDS):
        ends.setdefault(saga, {})[status] = count
    losses = runner.recoveries.losses
    return Report(
        settings=environment.settings,
        minutes=minutes,
        strikes=dict(Counter(strike.fault.name for strike in runner.strikes)),
        groups=by_group(runner.strikes),
        sagas=ends,
        starts_returned=len(lines_of(environment, "returned")),
        named_failures=dict(environment.ask_patiently(NAMED)),
        mended=len(mended),
        excluded=int(environment.ask_patiently("SELECT count(*) FROM bank.excluded")[0][0]),
        settled_after=settled_after,
        violations=violations,
        unbalanced=runner.unbalanced,
        noticed=[loss.noticed_after for loss in losses if loss.noticed_after is not None],
        ran_again=[loss.ran_after for loss in losses if loss.ran_after is not None],
        ran_again_undisturbed=[
            loss.ran_after
            for loss, struck_at in runner.losses_with_times()
            if loss.ran_after is not None and is_undisturbed(loss, struck_at, runner.strikes)
        ],
        ran_again_calm=[
            loss.ran_after
            for loss, struck_at in runner.losses_with_times()
            if loss.ran_after is not None and struck_at < runner.calm_until
        ],
        held_up=runner.restarts.seconds(),
        losses=dict(Counter(loss.end or "still waits" for loss in losses)),
        exits={
            kept.name: {str(status): count for status, count in kept.exits.items()} for kept in environment.processes
        },
        most=runner.watch.most,
        events=dict(environment.ask_patiently(EVENTS)),
        errors=dict(environment.ask_patiently(ERRORS.replace("%", "%%"))),
        said=what_was_said(environment),
        messages=environment.ask_patiently(MESSAGES)[0],
        left_out=[
            *(["wrong clocks: no libfaketime, apt-get install faketime"] if faketime() is None else []),
            *runner.broken_tools,
        ],
    )


def by_group(strikes: list[Strike]) -> dict[str, dict[str, int]]:
    counted: dict[str, Counter[str]] = {}
    for strike in strikes:
        counted.setdefault(strike.fault.group, Counter())[strike.fault.name] += 1
    return {group: dict(faults) for group, faults in counted.items()}


def is_undisturbed(loss: Loss, struck_at: float, strikes: list[Strike]) -> bool:
    """Whether nothing else went wrong between the kill and the step's running again."""
    assert loss.ran_after is not None
    until = struck_at + loss.ran_after
    return not any(
        strike.began < until and (strike.ended is None or strike.ended > struck_at) and strike.began != struck_at
        for strike in strikes
    )


def what_was_said(environment: FaultEnvironment) -> dict[str, int]:
    """The warnings, errors and exceptions in the logs, without what is particular to one of them."""
    said = Counter[str]()
    for kept in environment.processes:
        kind = re.sub(r"\d+", "", kept.name)
        for line in kept.text().splitlines():
            found = WORTH_TELLING.search(line)
            if found is not None:
                said[f"{kind}: {PARTICULARS.sub('#', found.group(0))[:130]}"] += 1
    return dict(said.most_common(40))


def tell(report: Report, runner: FaultRunner, an_operator: Operator) -> None:
    """The offenders' timelines, with what struck while they lived."""
    shown: list[str] = []
    for violation in report.violations:
        if violation.subject in shown or len(shown) >= 10 or not re.fullmatch(r"[0-9a-f-]{36}", violation.subject):
            continue
        shown.append(violation.subject)
        print(f"\n--- {violation}\n{an_operator.timeline(violation.subject)}", flush=True)
    for step in runner.restarts.slowest(3):
        where = f"position {step.position}, branch {step.branch}, round {step.round}"
        print(f"\n--- held up for {step.ended_after:.1f} s after {step.back_at:%H:%M:%S.%f}, {step.stopped}: {where}")
        print(an_operator.timeline(step.instance_id), flush=True)
