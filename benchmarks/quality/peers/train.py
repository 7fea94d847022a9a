"""Train a published recipe on copick projects, and follow it by F4 on another project.

python benchmarks/quality/peers/train.py PEER TRAIN_PROJECT... --validation-project PROJECT --out FOLDER

Goes on where it was when FOLDER holds a checkpoint, with more --minutes too, unless the recipe's learning rate is a
function of them. `curve.jsonl` gets a row every --every minutes of training: seconds of training, step, F4 on the
validation project with the best thresholds for it, in all and by object. `best.pt` and `validation-one.csv`
(candidates, which `pick.py` fits thresholds on) are of the best validation, `last.pt` of the end.
"""

import argparse
import json
import logging
from functools import partial
from pathlib import Path

import torch
from loop import OPTIONS, Budget, Lesson, keep_memory, train
from peers import PEERS
from schedules import BOUND_TO_BUDGET
from task import Source, read_training_runs
from validation import Verdict, find_candidates, judge, read_truth

from cryofind.atomic import write_json


def main() -> None:
    arguments = parse_arguments()
    keep_memory()
    torch.set_num_threads(arguments.threads)
    logging.getLogger("cryofind").setLevel(logging.ERROR)  # tuning warns of each object that an early network misses
    arguments.out.mkdir(parents=True, exist_ok=True)
    peer = PEERS[arguments.peer]
    source = Source.open(arguments.validation_project, arguments.flavour[0])
    task = source.task
    truth = read_truth(source, task, runs=arguments.validation_runs)
    runs = read_training_runs(arguments.projects, arguments.flavour, task)
    note_options(arguments)
    print(f"{arguments.peer}: {len(runs)} tomograms to learn from, {len(truth.run_names)} to validate on", flush=True)

    def validate(network: torch.nn.Module) -> Verdict:
        return judge(find_candidates(network, peer, source, task, runs=arguments.validation_runs), truth, task)

    budget = Budget(60 * arguments.minutes, 60 * arguments.every, arguments.seed)
    train(Lesson(peer, task, runs), arguments.out, budget, validate, partial(print, flush=True))


def note_options(arguments: argparse.Namespace) -> None:
    """Keep what this was trained on, for picking and for readers; refuse to go on with what would not be the same."""
    document = {
        "peer": arguments.peer,
        "projects": [str(path) for path in arguments.projects],
        "validation_project": str(arguments.validation_project),
        "validation_runs": arguments.validation_runs,
        "flavours": arguments.flavour,
        "minutes": arguments.minutes,
        "threads": arguments.threads,
        "seed": arguments.seed,
    }
    path = arguments.out / OPTIONS
    fixed = ["peer", "projects", "validation_project", "validation_runs", "flavours", "seed"]
    if PEERS[arguments.peer].rate in BOUND_TO_BUDGET:
        fixed.append("minutes")
    if path.exists():
        before = json.loads(path.read_text())
        if changed := [name for name in fixed if before.get(name) != document[name]]:
            found = before.get(changed[0])
            raise SystemExit(f"{path}: was trained with another {changed[0]} ({found}); use another --out")
    write_json(path, document)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("projects", type=Path, nargs="+", help="copick projects to learn from")
    parser.add_argument("--validation-project", type=Path, required=True)
    parser.add_argument("--validation-runs", type=int, default=None, help="only the first N, for a denser curve")
    parser.add_argument("--flavour", action="append", help="to learn from; the first is validated on [denoised]")
    parser.add_argument("--minutes", type=float, default=480.0, help="of training, validation apart [480]")
    parser.add_argument("--every", type=float, default=10.0, help="minutes of training between validations [10]")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.flavour = arguments.flavour or ["denoised"]
    return arguments


if __name__ == "__main__":
    main()
