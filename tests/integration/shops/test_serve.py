"""A shop that a person opens by hand: `python3 run.py shop`, with servers of its own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from config.examples.serve import PORT, options
from tests.support.shops import STARTS_WITHIN, Browser, free_port
from tests.support.workers import ROOT, eventually


def test_by_hand_a_step_takes_a_second_and_a_half_unless_slow_says_otherwise() -> None:
    chosen = options(["django"])
    assert (chosen.framework, chosen.port, chosen.slow) == ("django", PORT, 1.5)

    chosen = options(["flask", "8001", "--slow", "0"])
    assert (chosen.framework, chosen.port, chosen.slow) == ("flask", 8001, 0)


@pytest.mark.parametrize(
    "words", [[], ["rails"], ["flask", "x"], ["flask", "--slow", "5.1"], ["flask", "--slow", "nan"]]
)
def test_a_command_line_that_cannot_work_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options(words)

    assert ended.value.code == 2
    assert "usage: python3 run.py shop" in capsys.readouterr().err


def test_a_shop_opened_by_hand_has_slow_steps_and_says_how_its_sagas_are_seen(tmp_path: Path) -> None:
    # Given: no servers but its own
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SAGAS_")}
    port, log = free_port(), tmp_path / "shop.log"
    command = [sys.executable, "-m", "config.examples.serve", "flask", str(port), "--slow", "2.5"]
    with log.open("wb") as output:
        shop = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        eventually(lambda: "Logs:" in log.read_text() or shop.poll() is not None, "the shop to open", STARTS_WITHIN)
        said = log.read_text()
        assert shop.poll() is None, said

        # When: a browser orders there, and the words that it has printed are typed into another terminal
        with Browser(f"http://127.0.0.1:{port}") as browser:
            page = browser.get("/").text
            assert browser.order("order-1").status_code == 201
        typed = "\n".join(re.findall("^  (.*)$", said, re.MULTILINE)).replace("python3 run.py exec celery", "$CELERY")
        environment["CELERY"] = f"{sys.executable} -m celery"
        listed = subprocess.run(["sh", "-ec", typed], cwd=ROOT, env=environment, capture_output=True, text=True)
    finally:
        shop.send_signal(signal.SIGTERM)
        shop.wait(STARTS_WITHIN)

    assert 'data-slow="2.5"' in page
    assert "export SAGAS_DATABASE_URL=" in typed
    assert listed.returncode == 0, listed.stderr
    assert "order/order-1" in listed.stdout
    assert shop.returncode == 0
