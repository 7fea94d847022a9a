"""Tomogram to probability volume: networks over whole tomograms, and labels from what they say."""

from cryofind.models import choose_precision
from cryofind.predict.device import choose_device
from cryofind.predict.engine import predict_probabilities, predict_tensor
from cryofind.predict.engines import EngineChoice, choose_engine
from cryofind.predict.ready import ReadyNetworks
from cryofind.predict.segment import segment_probabilities

__all__ = [
    "EngineChoice",
    "ReadyNetworks",
    "choose_device",
    "choose_engine",
    "choose_precision",
    "predict_probabilities",
    "predict_tensor",
    "segment_probabilities",
]
