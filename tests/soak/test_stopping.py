"""A soak that is stopped ends at once, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from examples.signals import InterruptionError, begun_whole, signals_collected, signals_raised

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_soak_stopped_by_a_signal_leaves_nothing(signum: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.soak", "--seconds", "60"],
        cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as run:  # fmt: skip
        assert run.stdout is not None
        for line in run.stdout:
            if " s  " in line:  # a fault was made
                break
        (log,) = tmp_path.glob("*/server/server.log")
        servers = re.findall(r"pid=(\d+), just started", log.read_text())
        os.kill(run.pid, signum)
        # Ends when the last client that has our pipe is gone.
        said, _ = run.communicate(timeout=30)
    assert run.returncode == 128 + signum
    assert said.splitlines()[-1] == f"stopped by {signum.name}"
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
    assert servers
    for pid in servers:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_a_second_signal_does_not_disturb_the_end() -> None:
    before = signal.getsignal(signal.SIGINT)
    ended = []

    def stopped_twice() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGINT)
            ended.append(True)

    with pytest.raises(InterruptionError, match="SIGTERM"), signals_raised():
        stopped_twice()
    assert ended
    assert signal.getsignal(signal.SIGINT) is before


def test_what_has_begun_when_a_signal_comes_is_ended() -> None:
    steps = []

    class Begun:
        def __enter__(self) -> None:
            signal.raise_signal(signal.SIGINT)
            steps.append("begun")

        def __exit__(self, *_: object) -> None:
            steps.append("ended")

    with pytest.raises(InterruptionError), signals_raised(), begun_whole(Begun()):
        steps.append("not reached")
    assert steps == ["begun", "ended"]


def test_collected_signals_strike_afterwards() -> None:
    steps = []

    def collecting() -> None:
        with signals_collected() as received:
            signal.raise_signal(signal.SIGTERM)
            steps.append(received[0])
        steps.append(0)

    with pytest.raises(InterruptionError, match="SIGTERM"), signals_raised():
        collecting()
    assert steps == [signal.SIGTERM]
