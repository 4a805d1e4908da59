"""What counts as noticed: a test that fails because of what was taken away, and nothing else."""

from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pytest

from tests.holes.reversal import Edit, Reversal
from tests.holes.running import Result, judged, try_without
from tests.holes.witness import SAYS

LOOP = Reversal(
    letter="C1",
    hole="",
    taken_away="",
    edits=(),
    tests=("tests/unit/test_loop.py::test_one", "tests/unit/test_loop.py::test_two[b c]"),
)


def case(name: str, kind: str = "", said: str = "") -> str:
    inner = f"<{kind} message={quoteattr(said)}>E   {escape(said)}</{kind}>" if kind else ""
    return f'<testcase classname="tests.unit.test_loop" name={quoteattr(name)}>{inner}</testcase>'


def judge(directory: Path, *cases: str, about: str = "copy/sagas/__init__.py") -> Result:
    (directory / "report.xml").write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return judged(LOOP, directory / "copy", f"...\n{SAYS}{directory / about}\n1 failed", 1.0)


FAILED = case("test_two[b c]", "failure", "assert 1 == 2")


def test_each_named_test_has_to_fail_with_one_of_its_parameters(tmp_path: Path) -> None:
    result = judge(tmp_path, case("test_one[a]"), case("test_one[b]", "failure", "assert False"), FAILED)

    assert result.is_proof
    assert result.ran == 3
    assert result.failed["tests/unit/test_loop.py::test_one[b]"] == "assert False"


def test_a_named_test_that_passes_has_not_noticed(tmp_path: Path) -> None:
    result = judge(tmp_path, case("test_one"), FAILED)

    assert not result.is_proof
    assert result.unnoticed == ["tests/unit/test_loop.py::test_one"]


def test_another_parameter_than_the_one_that_is_named_does_not_count(tmp_path: Path) -> None:
    result = judge(tmp_path, case("test_one", "failure", "no"), case("test_two[a]", "failure", "no"))

    assert result.unnoticed == ["tests/unit/test_loop.py::test_two[b c]"]


@pytest.mark.parametrize(
    "said",
    ["NameError: name 'x' is not defined", "sqlalchemy.exc: (psycopg2.errors.SyntaxError) at end", "ImportError: x"],
)
def test_what_is_no_program_any_more_proves_nothing(tmp_path: Path, said: str) -> None:
    result = judge(tmp_path, case("test_one", "failure", said), FAILED)

    assert not result.is_proof
    assert said in result.trouble


def test_nor_does_a_worker_that_cannot_run_it(tmp_path: Path) -> None:
    (tmp_path / "made" / "test_one0").mkdir(parents=True)
    (tmp_path / "made" / "test_one0" / "worker.log").write_text("…\nNameError: name 'x' is not defined")

    assert not judge(tmp_path, case("test_one", "failure", "waited in vain"), FAILED).is_proof


def test_nor_does_an_error_before_the_test(tmp_path: Path) -> None:
    assert not judge(tmp_path, case("test_one", "error", "no database"), FAILED).is_proof


def test_nor_do_tests_of_another_copy(tmp_path: Path) -> None:
    result = judge(tmp_path, case("test_one", "failure", "no"), FAILED, about="original/sagas/__init__.py")

    assert "not about the copy" in result.trouble


def test_nor_does_a_run_without_a_report(tmp_path: Path) -> None:
    assert not judged(LOOP, tmp_path / "copy", "usage: pytest", 1.0).is_proof


def test_nor_does_an_edit_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Reversal(letter="C1", hole="", taken_away="", edits=(Edit("run.py::no_such", "a", "b"),), tests=("x::test",))

    result = try_without(gone)

    assert not result.is_proof
    assert "no_such" in result.trouble
