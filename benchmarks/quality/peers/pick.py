"""Pick with a trained recipe: `python benchmarks/quality/peers/pick.py FOLDER PROJECT --out DIR`.

Writes DIR/picks.csv: every candidate with its score, `selected` by thresholds that are the best on all runs of the
project that the recipe was validated on. With --views all, its test-time augmentation is used, there and here.
"""

import argparse
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from inference import ONE_VIEW, View
from loop import OPTIONS, keep_memory, load_best
from peers import PEERS, Peer
from task import Source, Task
from torch import nn
from validation import Candidates, find_candidates, is_decided, judge, read_decision, read_truth

from cryofind.pipeline.tuning import Tuning


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained recipe.

    Parameters
    ----------
    folder
        That train.py wrote.
    step
        Of the network, which is the best one.
    views_name
        Which views of test-time augmentation are used: `one` or `all` of the recipe.
    """

    folder: Path
    peer: Peer
    network: nn.Module
    step: int
    views_name: str

    @property
    def views(self) -> tuple[View, ...]:
        """The views themselves."""
        return self.peer.views if self.views_name == "all" else ONE_VIEW

    def find_candidates(self, source: Source, task: Task) -> Candidates:
        """Return the candidates of all runs by decoding."""
        return find_candidates(self.network, self.peer, source, task, views=self.views)


def main() -> None:
    arguments = parse_arguments()
    keep_memory()
    torch.set_num_threads(arguments.threads)
    logging.getLogger("cryofind").setLevel(logging.ERROR)
    options = json.loads((arguments.folder / OPTIONS).read_text())
    peer = PEERS[options["peer"]]
    validation = Source.open(Path(options["validation_project"]), options["flavours"][0])
    task = validation.task
    network = peer.build(task.channels)
    trained = Trained(arguments.folder, peer, network, load_best(arguments.folder, network), arguments.views)
    decoder, tuning = decide(trained, validation)
    print(f"{options['peer']}, step {trained.step}: {decoder}; {'; '.join(tuning.describe())}", flush=True)
    source = Source.open(arguments.project, arguments.flavour)
    candidates = trained.find_candidates(source, task)[decoder]
    arguments.out.mkdir(parents=True, exist_ok=True)
    tuning.select(candidates).to_csv(arguments.out / "picks.csv")


def decide(trained: Trained, validation: Source) -> tuple[str, Tuning]:
    """Return decoding and thresholds by all validation runs; what was found for this step before is not found again."""
    task, folder, step, views_name = validation.task, trained.folder, trained.step, trained.views_name
    truth = read_truth(validation, task)
    if not is_decided(folder, views_name, step, truth):
        judge(trained.find_candidates(validation, task), truth, task).write(folder, views_name, step)
    return read_decision(folder, views_name, truth, task)


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
