"""Training: batches from annotated runs, losses, and a loop that survives interruptions."""

from cryofind.train.loop import train_network
from cryofind.train.losses import build_loss, mask_unlabelled
from cryofind.train.metrics import read_metrics
from cryofind.train.prefetch import Sampler
from cryofind.train.results import Loss, TrainResult, Validation
from cryofind.train.sampling import CropSampler, TrainingRun
from cryofind.train.timing import TrainTimes

__all__ = [
    "CropSampler",
    "Loss",
    "Sampler",
    "TrainResult",
    "TrainTimes",
    "TrainingRun",
    "Validation",
    "build_loss",
    "mask_unlabelled",
    "read_metrics",
    "train_network",
]
