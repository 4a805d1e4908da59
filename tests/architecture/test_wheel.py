"""What is shipped: the library alone, with its types and its migrations."""

import email
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.workers import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built without a network, from the tree as it is."""
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_the_library_and_its_metadata_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}

    (metadata,) = tops - {"sagas"}
    assert metadata.endswith(".dist-info")


def test_the_wheel_holds_every_module_every_migration_and_the_type_marker(wheel: zipfile.ZipFile) -> None:
    shipped = set(wheel.namelist())
    source = ROOT / "sagas"
    wanted = {
        str(path.relative_to(ROOT))
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }

    assert wanted <= shipped
    assert "sagas/py.typed" in shipped
    assert any(name.startswith("sagas/store/migrations/") and name.endswith(".sql") for name in shipped)


def test_the_metadata_names_the_dependencies_and_the_command(wheel: zipfile.ZipFile) -> None:
    (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(wheel.read(path))
    required = " ".join(metadata.get_all("Requires-Dist") or [])

    assert metadata["Name"] == "celery-sagas"
    for package in ("celery[redis]", "sqlalchemy", "psycopg2-binary"):
        assert package in required
    for package in ("pytest", "pixeltable", "valkey", "mypy"):
        assert package not in required
    (entry,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "[celery.commands]\nsagas = sagas.cli:sagas" in wheel.read(entry).decode()


def test_the_metadata_names_the_license_and_the_wheel_holds_its_text(wheel: zipfile.ZipFile) -> None:
    (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(wheel.read(path))
    (text,) = (name for name in wheel.namelist() if name.endswith(".dist-info/licenses/LICENSE"))

    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert wheel.read(text) == (ROOT / "LICENSE").read_bytes()


def test_an_installed_wheel_can_be_imported_and_finds_its_migrations(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    script = (
        "import sagas, sagas.cli; from sagas.store.migrations.runner import migrations; "
        "print(sagas.__file__, [name for _, name, _ in migrations()])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert str(tmp_path) in done.stdout
    assert "0001_initial.sql" in done.stdout
