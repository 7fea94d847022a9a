"""What works: proxy trainings, one change at a time, against a common recipe.

python benchmarks/quality/experiments.py [--only NAME]... [--init MODEL] [--minutes M | --steps N] [--seeds N]
    [--threads N] [--scratch DIR] [--tables]

`experiments.toml` holds the common recipe and the variants, `experiment_sets.toml` the small simulated sets: one to
learn from, one to judge by, and one of another microscope to judge by (made with the reference data, left out without).
A training takes M minutes of N threads, counted in seconds of the processor: a few steps of each variant are timed
first, and its number of steps follows. One that costs within 20 % of the common recipe takes as many steps as that;
--steps says how many those are. With --init all start from a trained model: short trainings from scratch differ more by
their seeds than by what is asked, but only those from scratch tell what a model would have become without its past.

Everything lies in DIR/experiments: `results.jsonl` (a line for each training), `costs.json`, `experiments.md`. What is
there is not made again, and a training that was cut off goes on. All variants are trained with the first seed, then
with the next.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curve_rows import append_row, read_rows
from experiment_table import format_report
from experiment_training import FOLDER, RESULT_NAME, Job
from experiment_variants import BASELINE, Experiments, choose_variants, read_experiments
from hardware import describe_hardware, describe_load, read_commit, read_load
from places import HERE, Places
from sets import OpenSet, SetMissingError, open_set

from cryofind.atomic import write_json, write_text
from cryofind.config import Config
from cryofind.errors import ConfigError, CryofindError
from cryofind.models import find_model, model_hash
from cryofind.pipeline.records import hash_document, timestamp

LEARNT = "proxy-train"
JUDGED = ("proxy-validation", "proxy-shift")
# Costs that differ by less are the same: it is what timing one recipe twice gives on a machine that has other work.
EQUAL_COSTS = 0.2
STOPPED = {130, 143, -signal.SIGINT, -signal.SIGTERM, -signal.SIGKILL}


@dataclass(frozen=True, eq=False)
class Bench:
    """What all trainings have in common.

    Parameters
    ----------
    experiments
        The variants.
    places
        Definitions of the sets, and where things are made.
    learnt, judged
        The sets.
    threads
        Of the network.
    initial_model
        What they start from; empty: from scratch.
    """

    experiments: Experiments
    places: Places
    learnt: OpenSet
    judged: tuple[OpenSet, ...]
    threads: int
    initial_model: str = ""

    @property
    def folder(self) -> Path:
        """Where everything lies."""
        return self.places.scratch / FOLDER

    def read_costs(self, name: str) -> float:
        """Return the seconds of the processor that a step of a variant takes, measured where it is not known."""
        config = self.experiments.config_of(name, steps=1000)
        key = hash_document({**self.experiments.describe(name, config), "threads": self.threads})
        path = self.folder / "costs.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if key not in known:
            folder = self.folder / "costs" / f"{name}-{key[:8]}"
            shutil.rmtree(folder, ignore_errors=True)
            result = self._run(self._make_job(name, config, judged=()), folder)
            shutil.rmtree(folder, ignore_errors=True)
            known[key] = {"variant": name, "threads": self.threads, **result}
            write_json(path, known)
        if "problem" in known[key]:
            raise ConfigError(f"variant {name}", known[key]["problem"], "change it")
        return float(known[key]["cpu_seconds_per_step"])

    def count_steps(self, name: str, common_steps: int) -> int:
        """Return the steps that cost a variant as much as so many cost the common recipe."""
        ratio = self.read_costs(BASELINE) / self.read_costs(name)
        return common_steps if abs(ratio - 1) <= EQUAL_COSTS else max(1, round(common_steps * ratio))

    def name_training(self, name: str, config: Config) -> str:
        """Return the name of a training: what is made otherwise has another."""
        return f"{name}-seed{config.train.seed}-{self._hash(name, config)}"

    def name_common(self, steps: int) -> str:
        """Return what tells these experiments from others: the common recipe with its steps, and the sets."""
        return self._hash(BASELINE, self.experiments.config_of(BASELINE, steps=steps))

    def measure(self, name: str, config: Config) -> dict[str, Any]:
        """Train and judge, or go on with it; return the row."""
        key = self.name_training(name, config)
        folder = self.folder / "trainings" / key
        before = read_load()
        result = self._run(self._make_job(name, config, judged=tuple(one.name for one in self.judged)), folder)
        shutil.rmtree(folder / "training" / "checkpoints", ignore_errors=True)
        variant = self.experiments.variants[name]
        return {
            "key": key,
            "variant": name,
            **variant.model_dump(mode="json"),
            "seed": config.train.seed,
            "steps": config.train.steps,
            "initial_model": self.initial_model,
            "threads": self.threads,
            **result,
            "date": timestamp(),
            "commit": read_commit(),
            "hardware": describe_hardware(),
            "load": describe_load(before, read_load()),
        }

    def _hash(self, name: str, config: Config) -> str:
        sets = {one.name: one.identity for one in (self.learnt, *self.judged)}
        described = {**self.experiments.describe(name, config), "sets": sets}
        if miner := described.get("decoys_of"):
            described["decoys_of"] = model_hash(find_model(miner))
        if self.initial_model:
            described["initial_model"] = model_hash(find_model(self.initial_model))
        return hash_document(described)[:8]

    def _make_job(self, name: str, config: Config, *, judged: tuple[str, ...]) -> Job:
        return Job(
            **self.experiments.describe(name, config),
            definitions=str(self.places.definitions),
            scratch=str(self.places.scratch),
            learnt=self.learnt.name,
            judged=judged,
            threads=self.threads,
            initial_model=self.initial_model,
        )

    def _run(self, job: Job, folder: Path) -> dict[str, Any]:
        job.write(folder)
        run_training(folder, job.threads)
        result: dict[str, Any] = json.loads((folder / RESULT_NAME).read_text(encoding="utf-8"))
        return result


def run_training(folder: Path, threads: int) -> None:
    """Do the job of a folder in a process of its own, which a signal to this one ends in order.

    Raises
    ------
    CalledProcessError
        If it dies.
    SystemExit
        If it was told to stop.
    """
    # Threads that wait in a loop would count as work.
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, str(HERE / "experiment_training.py"), str(folder)]
    with open(folder / "log.txt", "a", encoding="utf-8") as log:
        training = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        code = training.wait()
    except KeyboardInterrupt:
        training.wait()  # it got the signal, too: it finishes the step and writes a checkpoint
        raise
    except SystemExit:
        training.terminate()
        training.wait()
        raise
    if code in STOPPED:
        sys.exit(143)
    if code:
        raise subprocess.CalledProcessError(code, command)


def open_sets(places: Places) -> tuple[OpenSet, tuple[OpenSet, ...]]:
    """Return the set to learn from and those that judge; one that needs reference data is left out without."""
    judged = []
    for name in JUDGED:
        try:
            judged.append(open_set(places, name))
        except SetMissingError as error:
            print(f"skipped: {error}", file=sys.stderr)
    return open_set(places, LEARNT), tuple(judged)


def run_experiments(bench: Bench, names: Sequence[str], asked: argparse.Namespace) -> int:
    """Train what is asked for and not yet there, and write the tables; return how many trainings failed."""
    common_steps = asked.steps or round(60 * asked.minutes * bench.threads / bench.read_costs(BASELINE))
    common, failed = bench.name_common(common_steps), 0
    for seed in range(asked.seeds):
        for name in names:
            try:
                config = bench.experiments.config_of(name, steps=bench.count_steps(name, common_steps), seed=seed)
                if bench.name_training(name, config) not in read_rows(bench.folder):
                    append_row(bench.folder, {"common": common, **bench.measure(name, config)})
                    print(f"done: {name}, seed {seed}, {config.train.steps} steps", flush=True)
                    write_report(bench.folder, bench.experiments, common)
            except (subprocess.CalledProcessError, ConfigError) as error:
                # The others are not held up by one that fails.
                print(f"variant {name}, seed {seed}: {error}", file=sys.stderr, flush=True)
                failed += 1
    print(write_report(bench.folder, bench.experiments, common), end="")
    return failed


def write_report(folder: Path, experiments: Experiments, common: str) -> str:
    """Write the tables of all trainings with so much in common; return them, empty without the common recipe."""
    rows: dict[str, list[Mapping[str, Any]]] = {name: [] for name in experiments.variants}
    for row in read_rows(folder).values():
        if row["common"] == common and row["variant"] in rows:
            rows[row["variant"]].append(row)
    asks = {name: variant.asks for name, variant in experiments.variants.items()}
    start = next((row.get("initial_model") for row in rows[BASELINE]), "")
    title = "Proxy experiments, on simulated tomograms" + (f", all started from `{start}`" if start else "")
    text = format_report(rows, asks, BASELINE, title)
    if text:
        write_text(folder / "experiments.md", text)
    return text


def show_last(folder: Path, experiments: Experiments) -> None:
    """Write and print the tables of the trainings that have as much in common as the last one has.

    Raises
    ------
    ConfigError
        If there is none.
    """
    rows = list(read_rows(folder).values())
    if not rows:
        raise ConfigError(folder, "holds no training", "leave --tables out")
    print(write_report(folder, experiments, rows[-1]["common"]), end="")


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line asks for."""
    asked = _parse(arguments)
    try:
        experiments = read_experiments(asked.experiments)
        names = choose_variants(experiments, asked.only)
        places = Places(asked.definitions, asked.scratch)
        if asked.tables:
            show_last(places.scratch / FOLDER, experiments)
            return
        bench = Bench(experiments, places, *open_sets(places), asked.threads, asked.init)
        sys.exit(1 if run_experiments(bench, names, asked) else 0)
    except CryofindError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="a variant; repeatable")
    parser.add_argument("--init", default="", metavar="MODEL", help="start from it (of the common network, or wider)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=10.0, help="of every training, all threads busy")
    length.add_argument("--steps", type=int, help="of the common recipe; the others take as long")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tables", action="store_true", help="train nothing, write the tables of what is there")
    parser.add_argument("--experiments", type=Path, default=HERE / "experiments.toml", help="the variants")
    parser.add_argument("--definitions", type=Path, default=HERE / "experiment_sets.toml", help="the sets")
    parser.add_argument("--scratch", type=Path, default=Places.scratch, help="everything is made in it")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
