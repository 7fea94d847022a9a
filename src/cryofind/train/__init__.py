"""Training: batches from annotated runs, losses, and a loop that survives interruptions."""

from cryofind.train.loop import Loss, TrainResult, Validation, train_network
from cryofind.train.losses import build_loss, mask_unlabelled
from cryofind.train.metrics import read_metrics
from cryofind.train.prefetch import BatchArrays, Sampler
from cryofind.train.sampling import CropSampler, TrainingRun

__all__ = [
    "BatchArrays",
    "CropSampler",
    "Loss",
    "Sampler",
    "TrainResult",
    "TrainingRun",
    "Validation",
    "build_loss",
    "mask_unlabelled",
    "read_metrics",
    "train_network",
]
