"""`benchmarks/speed` gives no time for what failed, and loses nothing by it."""

import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmark_scripts import import_scripts

MODULES = ("options", "table", "plot", "machine", "measuring", "report", "materials", "picking", "growth", "streaming")


@pytest.fixture(scope="module")
def speed() -> Iterator[SimpleNamespace]:
    """Return the benchmark's modules, which see each other as scripts of one folder do."""
    with import_scripts("speed", (*MODULES, "run")) as scripts:
        yield scripts


def python(code: str) -> list[object]:
    return [sys.executable, "-S", "-c", code]


def spread_of(*values: float) -> dict[str, Any]:
    return {"median": sorted(values)[len(values) // 2], "samples": list(values)}


def summary(seconds: float = 1.0, gigabytes: float = 1.0) -> dict[str, Any]:
    keys = ("seconds", "cpu_seconds", "seconds_in_stages")
    times = {key: spread_of(seconds) for key in keys}
    return {**times, "peak_gigabytes": spread_of(gigabytes), "stages": {"network": spread_of(seconds)}, "candidates": 7}


def row(*, others: float | None = 0.1, quick: bool = False, **found: Any) -> dict[str, Any]:
    load = {"load_before": 0.5, "load_after": 0.7, "others": others, "seconds": 60.0}
    return {"options": {"quick": quick}, "load": load, **found}


def test_a_command_that_succeeds_is_timed_up_to_its_first_words_and_its_end(speed: SimpleNamespace) -> None:
    code = "import sys, time; print('at work', file=sys.stderr, flush=True); time.sleep(0.2)"
    measured = speed.measuring.run_command(python(code))
    assert measured["first_words"] == "at work"
    assert 0 < measured["first_word_seconds"] < measured["seconds"]
    assert measured["peak_gigabytes"] > 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; print('one', file=sys.stderr); sys.exit('two')", "ended with exit code 1; last words: two"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by SIGKILL; last words: none"),
    ],
)
def test_a_command_that_fails_has_no_time(speed: SimpleNamespace, code: str, reason: str) -> None:
    with pytest.raises(speed.measuring.CommandError) as raised:
        speed.measuring.run_command(python(code))
    assert str(raised.value) == reason


def test_a_command_that_takes_the_memory_is_ended(speed: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed.measuring, "read_free_bytes", lambda: 1000)
    with pytest.raises(speed.measuring.CommandError, match="90 % of the free memory"):
        speed.measuring.run_command(python("import time; time.sleep(60)"))


def test_of_commands_in_turn_those_that_fail_are_left_out_and_the_others_go_on(speed: SimpleNamespace) -> None:
    calls: list[str] = []

    def work(name: str, fails_in: int) -> dict[str, float]:
        calls.append(name)
        if calls.count(name) == fails_in:
            raise speed.measuring.CommandError("no memory")
        return {"seconds": 1.0, "peak_gigabytes": 1.0}

    plan = {"good": 0, "bad": 2}
    cases = {name: speed.measuring.Case(partial(work, name, turn), 3) for name, turn in plan.items()}
    found, failed = speed.measuring.run_in_turn(cases)
    assert failed == {"bad": "no memory"}
    assert [*found] == ["good"]
    assert len(found["good"]) == 3
    assert calls == ["good", "bad", "good", "bad", "good", "good"]


def test_only_an_optional_case_may_fail(speed: SimpleNamespace) -> None:
    def fail() -> None:
        raise ValueError("no engine")

    case = partial(speed.measuring.Case, fail, 1)
    found = speed.measuring.interleave({"good": speed.measuring.Case(int, 2), "bad": case(optional=True)})
    assert found["bad"] == {"failed": "ValueError: no engine"}
    assert len(found["good"]["samples"]) == 2
    with pytest.raises(ValueError, match="no engine"):
        speed.measuring.interleave({"bad": case()})


@given(rounds=st.integers(1, 12), data=st.data())
def test_a_case_takes_part_in_as_many_rounds_as_it_asks_for(
    speed: SimpleNamespace, rounds: int, data: st.DataObject
) -> None:
    repeats = data.draw(st.integers(1, rounds))
    assert sum(speed.measuring.takes_part(number, repeats, rounds) for number in range(rounds)) == repeats


def test_a_ratio_comes_with_the_least_and_the_most_it_may_be(speed: SimpleNamespace) -> None:
    text = speed.table.format_ratio(spread_of(10.0, 12.0, 15.0), spread_of(1.0, 2.0, 4.0))
    assert text == "6.0 x (2.5 to 15.0, n = 3 / 3)"


def test_a_pick_that_failed_is_a_line_without_seconds(speed: SimpleNamespace) -> None:
    networks = {"res32": {"model": "m", "failed": "was ended by SIGKILL"}, "res16": {"model": "m", **summary()}}
    failed, *others = speed.picking.lines({"shape_zyx": [1, 2, 3], "networks": networks})
    assert (failed.measured, failed.reached) == ("failed: was ended by SIGKILL", False)
    assert [line.reached for line in others] == [True, True]


def test_growth_is_not_fitted_where_a_volume_failed(speed: SimpleNamespace) -> None:
    result = {
        "network": "res32",
        "shapes_zyx": [[1, 1, size] for size in (1, 2, 4, 8)],
        "voxels": [1, 2, 4, 8],
        "whole": [summary(1.0), summary(2.0), summary(4.0), {"failed": "too large"}],
        "streamed": [summary(float(size)) for size in (1, 2, 4, 8)],
    }
    lines = speed.growth.lines(result)
    assert [line.measured for line in lines if "whole" in line.what] == ["failed: too large"]
    assert [line.reached for line in lines] == [False, True, True]
    assert "1.00, 2.00, 4.00, 8.00 s; grows as voxels^1.00" in lines[1].measured
    assert speed.growth.files(result)["growth.svg"].count("<circle") == 2 * (3 + 4)


@pytest.mark.parametrize("failed", ["streamed", "whole"])
def test_streaming_that_failed_is_no_ratio(speed: SimpleNamespace, failed: str) -> None:
    shapes = {"whole": [2, 10, 10], "streamed": [4, 10, 10]}
    found = {"whole": summary(1.0), "streamed": summary(2.4), failed: {"failed": "gone"}}
    texts = [
        line.measured for line in speed.streaming.lines({"shapes_zyx": shapes, "network": "n", "model": "m", **found})
    ]
    assert texts[-1] == "failed: gone"
    assert not any(" x" in text for text in texts)


def test_streaming_is_compared_voxel_by_voxel(speed: SimpleNamespace) -> None:
    shapes = {"whole": [2, 10, 10], "streamed": [4, 10, 10]}
    found = {"whole": summary(1.0), "streamed": summary(2.4)}
    memory, times = speed.streaming.lines({"shapes_zyx": shapes, "network": "n", "model": "m", **found})
    assert memory.reached
    assert times.reached
    assert times.measured.startswith("1.20 x (1.20 to 1.20, n = 1 / 1) the time for a voxel")


def measure_fake(
    speed: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, path: Path, **functions: Any
) -> dict[str, Any]:
    monkeypatch.setitem(sys.modules, "fake_row", SimpleNamespace(**functions))
    monkeypatch.setattr(speed.run, "ROWS", {"fake": "fake_row"})
    monkeypatch.setattr(speed.run, "describe_machine", dict)
    assert speed.run.measure_here("fake", speed.options.Options(), path) == 0
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_row_whose_lines_cannot_be_made_keeps_its_result(
    speed: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    functions = {"measure": lambda _: {"seconds": 1.5}, "lines": lambda result: result["minutes"]}
    found = measure_fake(speed, monkeypatch, tmp_path / "row.json", **functions)
    assert found["result"] == {"seconds": 1.5}
    assert found["failed"].startswith("KeyError")
    assert "failed: KeyError: 'minutes'" in speed.report.format_report({"fake": {**row(), **found}})


def test_a_row_gives_its_lines_as_the_table_shows_them(
    speed: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    line = speed.table.Line("this", "<= 1 s", "0.5 s", True)
    functions = {"measure": lambda _: {}, "lines": lambda _: [line]}
    found = measure_fake(speed, monkeypatch, tmp_path / "row.json", **functions)
    assert "| fake | this | <= 1 s | 0.5 s | yes |" in speed.report.format_report({"fake": {**row(), **found}})
    assert speed.report.lines_of({**row(quick=True), **found})[0].reached is None


def test_rows_of_an_earlier_call_stay_and_a_damaged_result_is_not_replaced(
    speed: SimpleNamespace, tmp_path: Path
) -> None:
    assert speed.run.read_results(tmp_path) == {}
    speed.run.write_results(tmp_path, {"picks": row(failed="no memory"), "network": row(skipped="no time")})
    rows = speed.run.read_results(tmp_path)
    assert [*rows] == ["network", "picks"]  # the order of the table
    assert [speed.report.has_failed(found) for found in rows.values()] == [False, True]
    speed.run.write_results(tmp_path, {**rows, "picks": row(skipped="no disk")})
    table = (tmp_path / "speed.md").read_text()
    assert "skipped: no time" in table
    assert "skipped: no disk" in table
    assert "no memory" not in table
    (tmp_path / "speed.json").write_text('{"format": 1, "rows": {}}')
    with pytest.raises(SystemExit, match="move it away"):
        speed.run.read_results(tmp_path)


@pytest.mark.parametrize(("others", "is_marked"), [(0.5, False), (0.51, True), (None, False)])
def test_rows_measured_beside_others_are_marked(speed: SimpleNamespace, others: float | None, is_marked: bool) -> None:
    assert (speed.report.BUSY_MARK in speed.report.format_rows({"picks": row(others=others)})) == is_marked


def test_what_others_took_is_what_this_program_did_not(speed: SimpleNamespace) -> None:
    load = speed.machine.Load
    found = speed.machine.describe_load(load(0.0, (0.1,), 100.0, 10.0), load(10.0, (1.9,), 118.0, 25.0))
    assert (found["load_before"], found["load_after"], found["others"]) == (0.1, 1.9, 0.3)


def test_what_is_idle_is_not_counted_as_busy(speed: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "stat"
    path.write_text("cpu  1 2 4 1000 2000 8 16 32 0 0\ncpu0 5 5 5 5 5 5 5 5 5 5\n")
    ticks = speed.machine.os.sysconf("SC_CLK_TCK")
    assert speed.machine.read_busy_seconds(path) == pytest.approx((1 + 2 + 4 + 8 + 16 + 32) / ticks)
    assert speed.machine.read_busy_seconds(tmp_path / "absent") is None


def test_own_work_is_counted_as_own(speed: SimpleNamespace) -> None:
    before = speed.machine.read_load()
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    assert speed.machine.read_load().own_seconds - before.own_seconds >= 0.04


def test_what_is_kept_depends_on_all_that_it_is_made_from_and_is_made_whole(
    speed: SimpleNamespace, tmp_path: Path
) -> None:
    options = speed.options.Options(scratch=tmp_path)
    made: list[Path] = []

    def make(folder: Path, *, is_cut_off: bool = False) -> None:
        folder.mkdir()
        (folder / "half").touch()
        if is_cut_off:
            raise KeyboardInterrupt
        (folder / "half").rename(folder / "whole")
        made.append(folder)

    facts = {"seed": 1, "shape_zyx": (1, 2, 3)}
    with pytest.raises(KeyboardInterrupt):
        speed.materials.keep(options, "thing", partial(make, is_cut_off=True), facts)
    path = speed.materials.keep(options, "thing", make, facts)
    assert [file.name for file in path.iterdir()] == ["whole"]
    assert speed.materials.keep(options, "thing", make, facts) == path
    assert speed.materials.keep(options, "thing", make, {**facts, "seed": 2}) != path
    assert len(made) == 2
