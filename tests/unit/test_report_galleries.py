"""The worst failures of all runs on the summary of a report."""

from collections import Counter
from collections.abc import Sequence

from cryofind.pipeline.report_galleries import MOST_IN_SUMMARY, Gallery, show_worst
from cryofind.report.tomogram_page import Cutout
from tests.result_folders import SPECS

NAMES = ("ball", "rod")


def show_missed(ranks_of_runs: Sequence[Sequence[float]]) -> list[tuple[str, str, str]]:
    """Return run, object and number in its run of the missed particles that the summary shows, in order."""
    galleries = []
    for run, ranks in enumerate(ranks_of_runs):
        missed = [Cutout(NAMES[n % 2], (str(n),), (), rank=rank, zyx=(1.0, 2.0, 3.0)) for n, rank in enumerate(ranks)]
        galleries.append((f"TS_{run}", Gallery(missed=tuple(missed), averages={})))
    (section,) = show_worst(galleries, SPECS, with_failures=True)
    ((_, shown), _) = section.galleries
    assert not any(cutout.zyx for cutout in shown)
    return [(cutout.lines[0], cutout.title, cutout.lines[1]) for cutout in shown]


def test_of_equally_bad_failures_runs_and_objects_come_in_turns() -> None:
    shown = show_missed([[1e9] * 12] * 5)
    assert len(shown) == MOST_IN_SUMMARY
    assert sorted(Counter(run for run, _, _ in shown).values()) == [1, 1, 2, 2, 2]
    assert [name for _, name, _ in shown] == ["ball", "rod"] * (MOST_IN_SUMMARY // 2)
    assert {name for _, name, _ in show_missed([[1e9] * 12] * 30)} == set(NAMES)


def test_worse_failures_come_first_wherever_they_are() -> None:
    shown = show_missed([[5.0, 1.0], [9.0, 8.0, 7.0, 6.0], [4.0]])
    assert [(run, number) for run, _, number in shown] == [
        *[("in TS_1", str(number)) for number in range(4)],
        ("in TS_0", "0"),
        ("in TS_2", "0"),
        ("in TS_0", "1"),
    ]
