"""What the documentation names is there: pages, headings, commands, options, settings, modules, tables and tests."""

import ast
import importlib
import inspect
import re
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
from celery.app.defaults import DEFAULTS as CELERY_DEFAULTS
from celery.bin.celery import celery as celery_command

import sagas
from sagas.cli import sagas as saga_commands
from tests.architecture.test_layers import tracked
from tests.support.markdown import Page, pages, parseable, words_of
from tests.support.workers import ROOT

PAGES = pages()
each_page = pytest.mark.parametrize("page", PAGES, ids=str)

#: Of other programs, so that no source of ours need name them.
FOREIGN_VARIABLES: set[str] = set()
#: What a reader puts in for himself.
PLACEHOLDER = re.compile(r"[A-Z][A-Z/:_]*|<.*>|.*…|\.\.\.|\[.*")


@cache
def sources() -> str:
    """All code and configuration, without the pages."""
    suffixes = {".py", ".sql", ".yml", ".yaml", ".toml", ".html", ""}
    found = [path for path in tracked() if path.suffix in suffixes and path.name != "requirements.lock"]
    return "\n".join(path.read_text(errors="replace") for path in found if path.stat().st_size < 1_000_000)


# -- links


@each_page
def test_a_link_leads_to_a_file_and_a_heading_that_are_there(page: Page) -> None:
    for link in page.links:
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.path.parent / target).resolve() if target else page.path
        assert path.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in Page(path).anchors, f"{page}: {link}"


def test_every_page_is_in_the_index() -> None:
    index = Page(ROOT / "docs" / "README.md")
    led_to = {(index.path.parent / link.partition("#")[0]).resolve() for link in index.links}

    beneath = [page for page in PAGES if page.path.is_relative_to(index.path.parent) and page.path != index.path]
    assert [str(page) for page in beneath if page.path not in led_to] == []


def test_an_anchor_is_made_as_github_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "# A `page`, its *words*\n## Twice\n## Twice\n```console\n# no heading\n```\n### C1. [On](x.md) `now()`\n"
    )

    assert Page(path).anchors == {"a-page-its-words", "twice", "twice-1", "c1-on-now"}


# -- decisions

DECISIONS = [page for page in PAGES if page.path.parent.name == "decisions"]


def test_decisions_are_numbered_one_after_the_other() -> None:
    assert [page.path.name[:4] for page in DECISIONS] == [f"{number:04}" for number in range(1, len(DECISIONS) + 1)]


@pytest.mark.parametrize("page", DECISIONS, ids=str)
def test_a_decision_has_its_context_its_consequences_and_what_was_thrown_away(page: Page) -> None:
    title, *sections = re.findall(r"^#+ (.+)$", page.prose, re.MULTILINE)

    assert title.startswith(f"{int(page.path.name[:4])}. ")
    assert re.search(r"^Status: \w+, \d{4}-\d{2}$", page.text, re.MULTILINE)
    assert sections[:3] == ["Context", "Decision", "Consequences"]
    assert sections[3:] in (["Tried and thrown away"], ["Left out"])


# -- the glossary

GLOSSARY = Page(ROOT / "docs" / "glossary.md")


def test_the_words_of_the_glossary_are_in_the_order_of_the_alphabet() -> None:
    words = re.findall(r"^### (.+)$", GLOSSARY.text, re.MULTILINE)

    assert words == sorted(set(words))


def test_each_word_of_the_glossary_has_one_to_three_sentences_and_a_module() -> None:
    for entry in GLOSSARY.text.split("\n### ")[1:]:
        word, _, said = entry.partition("\n\n")
        assert re.search(rf"`sagas\.(?:{PACKAGES})\.", said), f"{word} has no module"
        sentences = re.findall(r"\.(?=\s|$)", re.sub(r"`[^`]*`", "", said))
        assert 1 <= len(sentences) <= 3, f"{word} is told in {len(sentences)} sentences"


# -- code

EXAMPLES = [(page, block) for page in PAGES for block in page.blocks("python", "py")]


@pytest.mark.parametrize(("page", "block"), EXAMPLES, ids=lambda it: str(it).strip().splitlines()[0][:50])
def test_an_example_is_python(page: Page, block: str) -> None:
    ast.parse(parseable(block), filename=str(page))


# -- commands


@each_page
def test_a_command_that_a_page_names_exists_with_its_options(page: Page) -> None:
    for words in page.commands():
        problem = problem_of(words)
        assert problem is None, f"{page}: {' '.join(words)}: {problem}"


def problem_of(words: list[str]) -> str | None:
    """Why a command cannot be typed as it stands; None: it can, or it is another program's."""
    match words:
        case ["python3" | "python", "run.py" | "./run.py", *rest]:
            return problem_of_run(rest)
        case ["python3" | "python", "-m", module, *rest] if module.partition(".")[0] in ("tests", "config", "sagas"):
            return problem_of_module(module, rest)
        case ["celery", *rest]:
            return problem_of_celery(rest)
        case ["flask", *rest] | ["manage.py" | "./manage.py", *rest] | ["python" | "python3", "manage.py", *rest]:
            return problem_of_sagas(rest[rest.index("sagas") + 1 :]) if "sagas" in rest else None
    return None


@cache
def run_commands() -> set[str]:
    """What `run.py` takes as its first word."""
    tree = ast.parse((ROOT / "run.py").read_text())
    keys = [[key.value for key in node.keys if isinstance(key, ast.Constant)] for node in walk_dicts(tree)]
    (commands,) = [names for names in keys if "demo" in names]
    return {str(name) for name in commands}


def walk_dicts(tree: ast.AST) -> list[ast.Dict]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Dict)]


def problem_of_run(words: list[str]) -> str | None:
    if not words or PLACEHOLDER.fullmatch(words[0]):
        return None
    command, *rest = words
    if command not in run_commands():
        return f"run.py knows {', '.join(sorted(run_commands()))}"
    if command == "exec":
        return problem_of(rest)
    if command == "bench":
        return problem_of_module("tests.benchmarks", rest)
    if command == "shop":
        shops = {path.name.removesuffix("_shop") for path in (ROOT / "config" / "examples").glob("*_shop")}
        return next((f"there is no shop {word}" for word in rest[:1] if word not in shops), None)
    named = [word.partition("::")[0] for word in rest if "/" in word and not word.startswith("-")]
    return next((f"{name} is not there" for name in named if not (ROOT / name).exists()), None)


def problem_of_module(module: str, words: list[str]) -> str | None:
    path = ROOT.joinpath(*module.split("."))
    folder = path if path.is_dir() else path.parent
    if not (path / "__main__.py").exists() and not path.with_suffix(".py").exists():
        return f"there is no module {module}"
    texts = "\n".join(file.read_text() for file in folder.rglob("*.py"))
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    return next((f"{module} has no {option}" for option in options if f'"{option}"' not in texts), None)


def problem_of_celery(words: list[str]) -> str | None:
    own = [word for place, word in enumerate(words) if place == 0 or words[place - 1] not in ("-A", "--app", "-b")]
    named = [word for word in own if not word.startswith("-")]
    if not named or PLACEHOLDER.fullmatch(named[0]):
        return None
    command = named[0]
    if command == "sagas":
        return problem_of_sagas(words[words.index("sagas") + 1 :])
    return None if command in {*celery_command.commands, "flower"} else f"celery has no command {command}"


def problem_of_sagas(words: list[str], group: click.Group = saga_commands) -> str | None:
    if not words or words[0] == "--help" or PLACEHOLDER.fullmatch(words[0]):
        return None
    # Django's and Flask's have the same ones; `list|show|…` names several.
    for name in words[0].split("|"):
        command = group.commands.get(name)
        if command is None and not PLACEHOLDER.fullmatch(name):
            return f"{group.name} has no command {name}"
    (first, *more) = words[0].split("|")
    if more or first not in group.commands:
        return None
    command = group.commands[first]
    if isinstance(command, click.Group):
        return problem_of_sagas(words[1:], command)
    return problem_of_options(command, words[1:])


def problem_of_options(command: click.Command, words: list[str]) -> str | None:
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    options = [word.strip("[]").partition("=")[0] for word in words if word.strip("[]").startswith("--")]
    return next(
        (f"sagas {command.name} has no {option}" for option in options if option not in {*known, "--help"}), None
    )


@pytest.mark.parametrize(
    "command",
    [
        "python3 run.py tests",
        "python3 run.py test tests/unit/test_nothing.py",
        "python3 run.py shop bottle",
        "python3 run.py bench --fast",
        "python3 run.py exec python -m tests.faults.campaing",
        "SAGAS_SCHEMA=x celery -A config sagas shwo order/42",
        "celery -A config sagas show order/42 --jsno | head",
        "celery -A config wroker",
        "flask sagas lits",
        "python manage.py sagas cancel ID --because x",
        "celery -A config sagas dead lits",
        "celery -A config sagas dead list --handlers charge",
    ],
)
def test_a_command_that_is_misspelt_is_found(command: str) -> None:
    assert problem_of(words_of(command)) is not None


# -- names


@each_page
def test_a_variable_of_the_environment_that_a_page_names_is_read_somewhere(page: Page) -> None:
    code = [*page.spans, *page.blocks("console", "sh", "bash", "yaml", "ini", "")]
    named = {name for text in code for name in re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", text)}

    unknown = {name for name in named - FOREIGN_VARIABLES if not re.search(rf"\b{name}\b", sources())}
    assert unknown == set(), str(page)


#: What takes arguments by name in the public face.
FACES: dict[str, Any] = {
    name: value for name in sagas.__all__ if callable(value := getattr(sagas, name)) and name != "SagaHandle"
}


@each_page
def test_an_argument_that_a_page_gives_to_a_public_name_exists(page: Page) -> None:
    for span in page.spans:
        for name, arguments in re.findall(r"\b([A-Z]\w+|parallel)\(([^()]*)", span):
            if name not in FACES or issubclass_of_error(FACES[name]):
                continue
            for argument in re.findall(r"(?:^|[,(]\s*|/)(\w+)=", arguments):
                assert argument in arguments_of(name), f"{page}: {span}: {name} takes no {argument}"


def arguments_of(name: str) -> set[str]:
    """The names of its parameters; what passes its options on to `Step` takes those of that."""
    parameters = inspect.signature(FACES[name]).parameters
    passes_on = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    return {*parameters, *(inspect.signature(sagas.Step).parameters if passes_on else ())}


def issubclass_of_error(face: Any) -> bool:
    return isinstance(face, type) and issubclass(face, BaseException)


@each_page
def test_a_setting_of_celery_that_a_page_names_exists(page: Page) -> None:
    prefixes = r"(?:task|worker|broker|beat|result|event|control)"
    for span in page.spans:
        for name in re.findall(rf"(?<![\w.]){prefixes}_\w+\b(?!\()", span):
            known = name in CELERY_DEFAULTS or re.search(rf"\b{name}\b", sources())
            assert known, f"{page}: {name}"


@cache
def attribute(dotted: str) -> bool:
    """Whether a dotted name of the library leads to a module or to what is in one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            # A field of a dataclass with slots is a descriptor of its class; one without is in its annotations.
            if not hasattr(found, part) and part not in getattr(found, "__dataclass_fields__", ()):
                return False
            found = getattr(found, part, None)
        return True
    return False


PACKAGES = (
    "choreography|cli|contrib|definition|engine|errors|extension|graph|handle|model|recovery|signals|store|testing"
)


@each_page
def test_a_module_or_function_that_a_page_names_exists(page: Page) -> None:
    if page.path.name == "CHANGELOG.md":
        return  # it tells of former releases, too
    for span in page.spans:
        for dotted in re.findall(rf"\bsagas\.(?:{PACKAGES})(?:\.\w+)+", span):
            assert attribute(dotted), f"{page}: {dotted}"


def test_a_name_that_is_not_there_is_found() -> None:
    assert attribute("sagas.model.decide.decide")
    assert attribute("sagas.store.statements.CLAIM")
    assert attribute("sagas.recovery.filling.Window.room")
    assert not attribute("sagas.model.decide.decides")
    assert not attribute("sagas.store.statement.CLAIM")


@each_page
def test_a_file_that_a_page_names_is_there(page: Page) -> None:
    folders = "sagas|tests|tasks|config|docs"
    for span in page.spans:
        for named in re.findall(rf"(?<![\w./-])(?:{folders})/[\w./*-]*[\w*/]", span):
            found = list(ROOT.glob(named)) if "*" in named else [Path(ROOT, named)]
            assert found, f"{page}: {named}"
            assert all(path.exists() for path in found), f"{page}: {named}"


@each_page
def test_a_table_or_column_that_a_page_names_is_in_the_schema(page: Page) -> None:
    schema = (ROOT / "docs" / "schema.sql").read_text()
    for span in page.spans:
        for table, column in re.findall(r"\b(saga_\w+)(?:\.(\w+))?", span):
            made = re.search(rf"CREATE [A-Z ]*TABLE sagas\.{table} \((.*?)^\)", schema, re.DOTALL | re.MULTILINE)
            if made is None:
                assert re.search(rf"\b{table}\b", sources()), f"{page}: {table}"
            elif column:
                assert re.search(rf"^    {column} ", made[1], re.MULTILINE), f"{page}: {table}.{column}"


@cache
def names_of_tests() -> frozenset[str]:
    """The names of all tests."""
    return frozenset(re.findall(r"def (test_\w+)\(", sources()))


@each_page
def test_a_test_that_a_page_names_exists(page: Page) -> None:
    # The name of a file of tests stands with its folder or its suffix.
    named = {name for span in page.spans for name in re.findall(r"(?<![\w/])(test_\w*[^\W_])(?![\w.])", span)}

    assert named - names_of_tests() == set(), str(page)
