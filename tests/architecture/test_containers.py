"""Compose and the image, as far as they can be read without Docker: health is checked, and nobody is root."""

import re
import shutil
import subprocess
from dataclasses import dataclass, field

import pytest

from tests.support.workers import ROOT

COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"


@dataclass
class Block:
    """A mapping of the file, as its indentation tells. Enough YAML for a file of mappings."""

    value: str = ""
    children: dict[str, "Block"] = field(default_factory=dict)


KEY = re.compile(r"^( *)([\w.<-]+):(?:\s+(.*))?$")


def read(text: str) -> Block:
    root = Block()
    stack: list[tuple[int, Block]] = [(-1, root)]
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        assert "\t" not in line, f"line {number}: a tab"
        match = KEY.match(line)
        assert match, f"line {number} is no key: {line}"
        depth = len(match[1])
        while stack[-1][0] >= depth:
            stack.pop()
        parent = stack[-1][1]
        assert match[2] not in parent.children, f"line {number}: {match[2]} twice"
        block = parent.children[match[2]] = Block(re.sub(r"\s+#.*$", "", match[3] or ""))
        stack.append((depth, block))
    return root


@pytest.fixture(scope="module")
def services() -> dict[str, Block]:
    return read(COMPOSE.read_text()).children["services"].children


def test_the_compose_file_can_be_read(services: dict[str, Block]) -> None:
    assert {"postgres", "redis", "worker", "beat", "flower", "migrate"} <= set(services)


def test_docker_itself_can_read_it() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode != 0:
        pytest.skip("there is no docker compose to ask; the other tests of this file read the text")
    done = subprocess.run(
        ["docker", "compose", "-f", str(COMPOSE), "config", "-q"],
        env={"FLOWER_BASIC_AUTH": "a:b", "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_every_service_that_stays_up_has_a_healthcheck(services: dict[str, Block]) -> None:
    for name, service in services.items():
        check = service.children["healthcheck"]
        if check.value == "{disable: true}":
            # It ends; who depends on it waits for its exit status.
            assert service.children["restart"].value.startswith('"no"'), name
        else:
            assert {"test", "interval", "timeout", "retries", "start_period"} <= set(check.children), name


def test_every_service_ends_in_its_own_time(services: dict[str, Block]) -> None:
    for name, service in services.items():
        assert "stop_grace_period" in service.children, name


def test_everything_of_ours_waits_for_the_migration(services: dict[str, Block]) -> None:
    text = COMPOSE.read_text()
    for name in ("worker", "beat", "flower"):
        depends = services[name].children["depends_on"]
        assert depends.value.startswith(("*ready", "&ready")), name
    assert "migrate: {condition: service_completed_successfully}" in text


def test_only_flower_is_published_and_only_to_this_host(services: dict[str, Block]) -> None:
    published = {
        name: service.children["ports"].value for name, service in services.items() if "ports" in service.children
    }

    assert set(published) == {"flower"}
    assert published["flower"].startswith('["127.0.0.1:')
    assert "FLOWER_BASIC_AUTH:?" in COMPOSE.read_text()


def test_the_image_runs_as_a_numbered_user_that_is_not_root() -> None:
    lines = DOCKERFILE.read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    last_stage = max(number for number, line in enumerate(lines) if line.startswith("FROM "))

    assert users, "the image runs as root"
    assert users[-1] not in ("root", "0")
    assert any(line.startswith("USER ") for line in lines[last_stage:])
    assert re.search(r"useradd .*--uid \d{4,}", DOCKERFILE.read_text())


def test_the_images_containers_may_do_less_than_docker_grants() -> None:
    text = COMPOSE.read_text()

    assert "cap_drop: [ALL]" in text
    assert "no-new-privileges:true" in text


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    ignored = {line.strip().rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    for line in DOCKERFILE.read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert source.lstrip("./") not in ignored
                if source != "README.md":
                    assert (ROOT / source).exists(), source
