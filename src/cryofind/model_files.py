"""What the files of a model are called, and which models come with the package; loads no torch."""

from pathlib import Path

WEIGHTS_NAME = "model.safetensors"
CARD_NAME = "model.json"
SHIPPED_MODELS = Path(__file__).resolve().parent / "weights"


def shipped_model_names() -> tuple[str, ...]:
    """Return the names of the models that come with the package."""
    return tuple(sorted(path.parent.name for path in SHIPPED_MODELS.glob(f"*/{CARD_NAME}")))
