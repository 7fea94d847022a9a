"""The training loop of all peers: steps until the budget is spent, with a curve, and able to go on where it was."""

import ctypes
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from crops import draw_crop
from peers import Peer
from task import Run, Task
from torch import Tensor, nn
from validation import Verdict

from cryofind.atomic import write_beside, write_text

LAST, BEST, CURVE, OPTIONS = "last.pt", "best.pt", "curve.jsonl", "options.json"
CHECKPOINT_SECONDS = 180.0
GRADIENT_LIMIT = 1e4  # beyond any honest gradient: what is left out are overflows


def keep_memory() -> None:
    """Tell glibc to keep what is freed: asking the kernel for every activation anew costs a quarter of a step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        no_trim, no_mmap = -1, -4
        mallopt(no_trim, 2**31 - 1)
        mallopt(no_mmap, 0)


@dataclass(frozen=True)
class Budget:
    """Seconds of training in all, and between validations; the seed of what is drawn."""

    seconds: float
    every_seconds: float
    seed: int = 0


@dataclass
class Progress:
    """How far a training is: steps, seconds of training (by the clock, and of all threads), F4 so far."""

    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    validate_at: float = 0.0
    best: float = -1.0
    totals: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    skipped: int = 0


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is learnt: a recipe, its objects, the tomograms."""

    peer: Peer
    task: Task
    runs: Sequence[Run]


@dataclass(frozen=True, eq=False)
class Learner:
    """What learns: a network, by steps of an optimizer that lower a loss."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Callable[[Tensor, Tensor], Tensor]

    @classmethod
    def build(cls, lesson: Lesson) -> "Learner":
        """Return the learner of a recipe; its weights are drawn by torch's generator."""
        network = lesson.peer.build(lesson.task.channels)
        optimizer = lesson.peer.make_optimizer(list(network.parameters()))
        return cls(network, optimizer, lesson.peer.make_loss(lesson.task))


def train(
    lesson: Lesson,
    folder: Path,
    budget: Budget,
    validate: Callable[[nn.Module], Verdict],
    say: Callable[[str], None] = print,
) -> None:
    """Train until the budget is spent; a folder with a checkpoint is gone on with."""
    torch.manual_seed(budget.seed)
    learner = Learner.build(lesson)
    progress = restore(folder, learner) or Progress(validate_at=budget.every_seconds)
    cut_curve(folder, len(progress.totals))
    saved_at = progress.seconds
    while True:
        is_over = progress.seconds >= budget.seconds
        if (is_over and progress.losses) or progress.seconds >= progress.validate_at:
            save(folder / LAST, learner, progress)
            note_validation(folder, validate(learner.network), learner.network, progress, say)
            progress.validate_at = progress.seconds + budget.every_seconds
            save(folder / LAST, learner, progress)
            saved_at = progress.seconds
        if is_over:
            return
        started, cpu_started = time.perf_counter(), time.process_time()
        factor = lesson.peer.rate(progress.seconds / budget.seconds, progress.totals)
        take_step(lesson, learner, progress, factor=factor, seed=budget.seed)
        progress.step += 1
        progress.seconds += time.perf_counter() - started
        progress.cpu_seconds += time.process_time() - cpu_started
        if progress.seconds - saved_at >= CHECKPOINT_SECONDS:
            save(folder / LAST, learner, progress)
            saved_at = progress.seconds
            say(f"step {progress.step}, {progress.seconds / 60:.1f} min, loss {np.mean(progress.losses[-50:]):.4f}")


def take_step(lesson: Lesson, learner: Learner, progress: Progress, *, factor: float, seed: int) -> None:
    """Draw a batch, which is a function of seed and step alone, and take one step of the optimizer.

    Parameters
    ----------
    factor
        On the recipe's learning rate.
    """
    network, optimizer = learner.network, learner.optimizer
    torch.manual_seed(hash((seed, progress.step)) % 2**63)
    images, targets = draw_batch(lesson, np.random.default_rng((seed, progress.step)))
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
    network.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(images)
    value = learner.loss(logits.float(), targets)
    optimizer.zero_grad(set_to_none=True)
    value.backward()
    norm = nn.utils.get_total_norm([part.grad for part in network.parameters() if part.grad is not None])
    if not norm.item() < GRADIENT_LIMIT:
        progress.skipped += 1
        return
    optimizer.step()
    progress.losses.append(value.item())


def draw_batch(lesson: Lesson, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return images (B, 1, z, y, x) and targets, mixed in pairs where the recipe does."""
    peer, task, runs = lesson.peer, lesson.task, lesson.runs
    ratios = None if peer.ratios is None else (1.0, *task.by_object(dict(peer.ratios)))
    images, targets = [], []
    for _ in range(peer.crops):
        run = runs[int(random.integers(len(runs)))]
        radii_voxels = task.radii_voxels * peer.target_factor
        grey, points = draw_crop(run, peer.crop_zyx, ratios, radii_voxels, peer.draw_turn(random), random)
        images.append(peer.change_grey(grey, random))
        targets.append(peer.draw_target(points, peer.crop_zyx, task))
    batch, values = torch.from_numpy(np.stack(images))[:, None], torch.from_numpy(np.stack(targets))
    if not peer.mixes:
        return batch, values
    shares = torch.from_numpy(random.beta(1.0, 1.0, len(batch)).astype(np.float32))[:, None, None, None, None]
    order = torch.from_numpy(random.permutation(len(batch)))
    return shares * batch + (1 - shares) * batch[order], shares * values + (1 - shares) * values[order]


def note_validation(
    folder: Path, verdict: Verdict, network: nn.Module, progress: Progress, say: Callable[[str], None]
) -> None:
    """Add a row to the curve; keep the network if it is the best so far."""
    row: dict[str, Any] = {
        "seconds": round(progress.seconds, 1),
        "cpu_seconds": round(progress.cpu_seconds, 1),
        "step": progress.step,
        "loss": round(float(np.mean(progress.losses or [0])), 5),
        "skipped": progress.skipped,
        **verdict.as_row(),
    }
    progress.losses.clear()
    progress.totals.append(verdict.total)
    write_curve(folder, [*read_curve(folder), row])
    say(json.dumps(row))
    if verdict.total > progress.best:
        progress.best = verdict.total
        with write_beside(folder / BEST) as partial:
            torch.save({"step": progress.step, "network": network.state_dict()}, partial)
        verdict.write(folder, "one", progress.step)


def read_curve(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the curve so far."""
    path = folder / CURVE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def cut_curve(folder: Path, count: int) -> None:
    """Drop rows that came after the checkpoint: they come again."""
    if (folder / CURVE).exists():
        write_curve(folder, read_curve(folder)[:count])


def write_curve(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the curve anew, a line for each row."""
    write_text(folder / CURVE, "".join(json.dumps(row) + "\n" for row in rows))


def save(path: Path, learner: Learner, progress: Progress) -> None:
    """Write a checkpoint, whole or not at all."""
    network, optimizer = learner.network.state_dict(), learner.optimizer.state_dict()
    state = {"network": network, "optimizer": optimizer, "progress": asdict(progress)}
    with write_beside(path) as partial:
        torch.save(state, partial)


def load_best(folder: Path, network: nn.Module) -> int:
    """Give a network the weights of the best validation; return its step."""
    state = torch.load(folder / BEST, weights_only=True)
    network.load_state_dict(state["network"])
    return int(state["step"])


def restore(folder: Path, learner: Learner) -> Progress | None:
    """Give a learner the state of the last checkpoint and return its progress; None without one."""
    if not (folder / LAST).exists():
        return None
    state = torch.load(folder / LAST, weights_only=True)
    learner.network.load_state_dict(state["network"])
    learner.optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])
