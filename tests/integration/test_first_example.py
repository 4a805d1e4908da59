"""The README's first example, as it is printed, in an empty directory: only the servers' addresses are others."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.support.programs import briefly
from tests.support.workers import ROOT, Worker

README = (ROOT / "README.md").read_text()
SECTION = README.partition("\n## A saga\n")[2].partition("\n## ")[0]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)


def test_the_install_line_names_this_package() -> None:
    name = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"]

    assert blocks("console")[0] == f"$ pip install {name}\n"


def test_the_first_example_runs_as_it_is_printed(database_url: str, broker_url: str, tmp_path: Path) -> None:
    addresses = {"redis://localhost:6379/0": broker_url, "postgresql://localhost/shop": database_url}
    for block in blocks("python"):
        if named := re.match(r"# (\w+\.py)", block):
            for printed, ours in addresses.items():
                block = block.replace(f'"{printed}"', repr(ours))
            (tmp_path / named[1]).write_text(block)
    assert {path.name for path in tmp_path.iterdir()} == {"shop.py", "orders.py", "start.py"}

    def run(*command: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SAGAS_")}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    (commands,) = [block for block in blocks("console") if "migrate" in block]
    assert re.findall(r"^\$ (.*)$", commands, re.MULTILINE)[:3] == [
        "celery -A shop sagas migrate",
        "celery -A shop worker &",
        "python start.py",
    ]
    run(sys.executable, "-m", "celery", "-A", "shop", "sagas", "migrate")
    with briefly(Worker({}, tmp_path / "worker.log", application="shop", arguments=(), root=tmp_path)):
        said = run(sys.executable, "start.py")
        shown = run(sys.executable, "-m", "celery", "-A", "shop", "sagas", "show", "order/order-43")

    assert [line.rstrip() for line in said.splitlines()] == re.findall(r"^order-.*$", commands, re.MULTILINE)
    assert "turned back because of orders.CardDeclined: 990 (in step charge_payment)" in shown
