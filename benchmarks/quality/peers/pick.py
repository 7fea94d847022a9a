"""Pick with a trained recipe: `python benchmarks/quality/peers/pick.py FOLDER PROJECT --out DIR`.

Writes DIR/picks.csv: every candidate with its score, `selected` by thresholds that are the best on all runs of the
project that the recipe was validated on. With --views all, its test-time augmentation is used, there and here.
"""

import argparse
import json
import logging
from pathlib import Path

import torch
from inference import ONE_VIEW, View
from loop import keep_memory, load_best
from peers import PEERS, Peer
from task import Source, Task
from torch import nn
from validation import find_candidates, is_decided, judge, read_decision, read_truth

from cryofind.pipeline.tuning import Tuning


def main() -> None:
    arguments = parse_arguments()
    keep_memory()
    torch.set_num_threads(arguments.threads)
    logging.getLogger("cryofind").setLevel(logging.ERROR)
    options = json.loads((arguments.folder / "options.json").read_text())
    peer = PEERS[options["peer"]]
    views = peer.views if arguments.views == "all" else ONE_VIEW
    validation = Source.open(Path(options["validation_project"]), options["flavours"][0])
    task = validation.task
    network = peer.build(task.channels)
    step = load_best(arguments.folder, network)
    decoder, tuning = decide(arguments.folder, arguments.views, step, network, peer, validation, task, views)
    print(f"{options['peer']}, step {step}: {decoder}; {'; '.join(tuning.describe())}", flush=True)
    source = Source.open(arguments.project, arguments.flavour)
    candidates = find_candidates(network, peer, source, task, views=views)[decoder]
    arguments.out.mkdir(parents=True, exist_ok=True)
    tuning.select(candidates).to_csv(arguments.out / "picks.csv")


def decide(
    folder: Path,
    name: str,
    step: int,
    network: nn.Module,
    peer: Peer,
    validation: Source,
    task: Task,
    views: tuple[View, ...],
) -> tuple[str, Tuning]:
    """Return decoding and thresholds by all validation runs; what was found for this step before is not found again."""
    truth = read_truth(validation, task)
    if not is_decided(folder, name, step, truth):
        judge(find_candidates(network, peer, validation, task, views=views), truth, task).write(folder, name, step)
    return read_decision(folder, name, truth, task)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="that train.py wrote")
    parser.add_argument("project", type=Path)
    parser.add_argument("--flavour", default="denoised")
    parser.add_argument("--views", choices=("one", "all"), default="one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
