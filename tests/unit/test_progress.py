"""Progress: quiet when short, one line now and then when long, a bar on a terminal."""

import io
import logging
import sys

import pytest

from cryofind.progress import report_progress


def test_short_work_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="cryofind"), report_progress("train", 3) as job:
        for _ in range(3):
            job.advance()
    assert caplog.records == []


def test_long_work_says_one_line_per_interval(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("cryofind.progress.time.monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO, logger="cryofind"), report_progress("train", 10) as job:
        for _ in range(10):
            now[0] += 10.0
            job.advance(note="loss 0.5")
    assert [record.getMessage() for record in caplog.records] == [
        "train: 3 of 10, 70 s left loss 0.5",
        "train: 6 of 10, 40 s left loss 0.5",
        "train: 9 of 10, 10 s left loss 0.5",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_on_a_terminal(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with caplog.at_level(logging.INFO, logger="cryofind"), report_progress("train", 2) as job:
        job.advance(2, note="done")
    assert "train" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()


def test_no_bar_when_quiet(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with caplog.at_level(logging.WARNING, logger="cryofind"), report_progress("train", 2) as job:
        job.advance(2)
    assert terminal.getvalue() == ""
