"""Whatever is typed after `sagas …`: an answer, a refusal or how to use it, never a traceback."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from celery.bin.base import CLIContext
from click.testing import Result
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from config.servers import EmbeddedBroker, EmbeddedPostgres
from sagas import SagaHandle, Sagas, SagaStatus
from sagas.cli import sagas as commands
from tests.conftest import GivenPostgres, empty_keyspace
from tests.support import journal, scripted
from tests.support.application import make
from tests.support.commands import runner
from tests.support.inline import run_messages
from tests.support.shapes import first_waits

#: No NUL, which no program can be given; lone surrogates are how Python reads bytes that are no UTF-8.
text = st.text(st.characters(exclude_characters="\x00"), max_size=12).filter(lambda typed: not typed.startswith("--o"))
typed = text | st.sampled_from(
    [
        *(
            "",
            "-",
            "--",
            "--json",
            "--svg",
            "--help",
            "--status",
            "failed",
            "--limit",
            "0",
            "-1",
            "9" * 5000,
            "--saga",
            "ID",
        ),
        *(
            "--saga",
            "--reason",
            "--step",
            "a",
            "--result",
            "{}",
            "[1]",
            '{"a": NaN}',
            '{"a": "\\ud800"}',
            "9" * 5000,
            "[" * 50_000,
        ),
        *("show", "replay", "edit", "resume"),  # of `dead`
        *("--payload", '{"a": "\\u0000"}', "--key", "\udcff", "x" * 10_000, "approval", "three", str(uuid4())),
    ]
)


@pytest.fixture(scope="module")
def sagas(postgres: EmbeddedPostgres | GivenPostgres, broker: EmbeddedBroker) -> Iterator[Sagas]:
    url = postgres.create_database(f"test_{uuid4().hex}")
    made = make(empty_keyspace(broker), url)
    made.migrate()
    journal.create(url)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SAGAS_DATABASE_URL", url)
        yield made
    made.engine.store.database.dispose()


@pytest.fixture(scope="module")
def runs(sagas: Sagas) -> list[SagaHandle]:
    """One that has ended, and one that waits for a signal."""
    ended, waiting = sagas.start(scripted.three, {"script": {}}), sagas.start(first_waits, {"script": {}})
    run_messages(sagas.app)
    sagas.sweep()
    assert ended.status is SagaStatus.COMPLETED
    return [ended, waiting]


def invoke(sagas: Sagas, arguments: list[str]) -> Result:
    done = runner().invoke(commands, arguments, obj=CLIContext(sagas.app, no_color=False, workdir=None))
    assert done.exception is None or isinstance(done.exception, SystemExit), (arguments, repr(done.exception))
    assert done.exit_code in (0, 1, 2), (arguments, done.output)
    assert "Traceback" not in done.output
    assert done.exit_code == 0 or done.output.strip(), arguments
    return done


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    command=st.sampled_from(sorted(commands.commands)) | text,
    arguments=st.lists(typed, max_size=5),
    number=st.integers(0, 1),
)
@example("signal", ["ID", ""], 1)
@example("signal", ["ID", "approval", "--payload", "9" * 5000], 1)
@example("signal", ["ID", "approval", "--payload", "[" * 50_000], 1)
@example("signal", ["ID", "approval", "--key", "x" * 10_000], 1)
@example("cancel", ["ID", "--reason", "\udcff"], 1)
@example("skip", ["ID", "--reason", "why", "--result", '{"a": NaN}'], 0)
@example("list", ["--saga", "\udcff"], 0)
@example("graph", ["\udcff"], 0)
@example("dead", ["list", "--handler", "\udcff"], 0)
@example("dead", ["replay", "--error", "\udcff", "--reason", "why"], 0)
@example("dead", ["edit", f"{UUID(int=1)}:1.0.0", "--reason", "why", "--payload", '{"$uuid": 5}'], 0)
@example("dead", ["resume", "\udcff/\udcff", "--reason", "why"], 0)
def test_whatever_is_typed_there_is_an_answer(
    sagas: Sagas, runs: list[SagaHandle], command: str, arguments: list[str], number: int
) -> None:
    invoke(sagas, [command, *(str(runs[number].id) if each == "ID" else each for each in arguments)])


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    command=st.sampled_from(["show", "retry", "cancel", "skip", "resolve", "signal", "graph"]),
    options=st.dictionaries(
        st.sampled_from(["--reason", "--step", "--result", "--payload", "--key"]), typed, max_size=4
    ),
    name=typed,
    number=st.integers(0, 1),
)
def test_whatever_is_given_to_a_verb_there_is_an_answer(
    sagas: Sagas, runs: list[SagaHandle], command: str, options: dict[str, str], name: str, number: int
) -> None:
    given = [word for option, value in options.items() for word in (option, value)]

    invoke(sagas, [command, str(runs[number].id), *([name] if command == "signal" else []), *given])

    assert runs[0].status is SagaStatus.COMPLETED
    assert runs[1].timeline()
