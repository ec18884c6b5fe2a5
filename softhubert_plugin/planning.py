"""What a recipe costs before it is started: disk, CPU hours and GPU hours of each stage.

The rates stand here with where they come from: measured, published, or guessed. Sizes of features follow from frames and widths.
"""

from __future__ import annotations

from typing import List, NamedTuple, Sequence

SECONDS = 3600
MFCC_RATE, HUBERT_RATE = 100, 50  # frames a second

# Measured on two shared AMD EPYC cores with 'softhubert features mfcc' and 'gmm dump' on an hour of train-clean-100, start-up included:
# hours of audio an hour of one core.
MFCC_SPEED = 460.0
LABEL_SPEED = 380.0
LABEL_BYTES = 54  # a frame of a soft-label file, measured there (100 components, perplexity 4, mass 0.999)
# Guesses, until somebody has timed a full-size run: core hours of fitting a clusterer, and of decoding with a language model, a system.
CLUSTERING_HOURS, DECODING_HOURS = 2.0, 20.0
# Hsu et al. (2021), section IV-B: 100k updates of 32 × 87.5 s of audio took 9.5 hours on 32 GPUs (V100).
PUBLISHED_GPUS, PUBLISHED_BATCH, PUBLISHED_SECONDS = 32, 87.5, 9.5 * SECONDS / 100_000
GPU_TRAINING_SPEED = PUBLISHED_BATCH / PUBLISHED_SECONDS  # audio seconds a second of one GPU
GPU_FORWARD_SPEED = 3 * GPU_TRAINING_SPEED  # a training step is a forward pass and twice as much backward


class Size(NamedTuple):
    """A full-size recipe.

    Attributes:
        updates: of pretraining in each iteration, of 32 × 87.5 s of audio.
        finetuning: updates of 8 × 200 s.
        cost: GPU time an update, relative to Base.
        dimensions, layers: of the model's hidden states.
    """

    updates: Sequence[int]
    finetuning: int
    cost: float
    dimensions: int
    layers: int


class Stage(NamedTuple):
    """One stage's demands; disk in GB."""

    number: int
    name: str
    disk: float
    cpu_hours: float
    gpu_hours: float


BASE = Size((250_000, 400_000), 80_000, 1.0, 768, 12)
# Large, 60k h: 400k updates of 128 × 56.25 s from Base's second-iteration labels (Hsu et al. 2021); cost by parameters, 317 M to 95 M.
LARGE = Size((250_000, 400_000), 320_000, 3.3, 1024, 24)


def plan(hours: float, systems: int, *, percent: float = 0.1) -> List[Stage]:
    """Stages 0 to 10 of ``examples/librispeech``.

    Args:
        hours: of speech to pretrain on.
        systems: pretraining targets compared, each with its own two iterations.
        percent: share of the speech that layers are probed on and clustered.
    """
    size = LARGE if hours > 10_000 else BASE
    audio = 0.06 * hours  # FLAC at 16 kHz: LibriSpeech's 960 h are 58 GB

    def features(rate: int, dimensions: int, share: float, width: int) -> float:
        return hours * share * SECONDS * rate * dimensions * width / 1e9

    def labels(rate: int) -> float:
        return systems * hours * SECONDS * rate * LABEL_BYTES / 1e9

    def pretraining(updates: int) -> float:
        return systems * size.cost * updates * PUBLISHED_GPUS * PUBLISHED_SECONDS / SECONDS

    forward = systems * size.cost * hours / GPU_FORWARD_SPEED
    mfcc = hours / MFCC_SPEED
    label = systems * hours / LABEL_SPEED
    finetuning = systems * size.cost * size.finetuning * 8 * 200 / GPU_TRAINING_SPEED / SECONDS
    probing = systems * features(HUBERT_RATE, size.dimensions * (size.layers + 1), percent, 2)
    layer = systems * features(HUBERT_RATE, size.dimensions, 1.0, 2)
    return [
        Stage(0, "data", audio, hours / 5000, 0),
        Stage(1, "MFCC", features(MFCC_RATE, 39, 1.0, 4), mfcc, 0),
        Stage(2, "clustering", 0.01, systems * CLUSTERING_HOURS, 0),
        Stage(3, "labels", labels(MFCC_RATE), label, 0),
        Stage(4, "pretraining, iteration 1", 4.0 * systems, 0, pretraining(size.updates[0])),
        Stage(5, "probing", probing, 0, percent * forward + systems),
        Stage(6, "layer features, clustering, labels", layer + labels(HUBERT_RATE), label * size.dimensions / 39, forward),
        Stage(7, "pretraining, iteration 2", 4.0 * systems, 0, pretraining(size.updates[1])),
        Stage(8, "fine-tuning", 4.0 * systems, 0, finetuning),
        Stage(9, "decoding", 0.1, systems * DECODING_HOURS, systems * 0.1),
        Stage(10, "report", 0.1, 0.1, 0),
    ]


def plan_tables(hours: Sequence[float], systems: int, gpus: int, percent: float) -> str:
    """The plans as tables for people."""
    parts = []
    for amount in hours:
        stages = plan(amount, systems, percent=percent)
        size = "Large" if amount > 10_000 else "Base"
        lines = [f"{amount:g} h of speech, {size}, {systems} systems, {gpus} GPUs", ""]
        lines.append(f"{'stage':<40}{'disk GB':>9}{'CPU-core h':>12}{'GPU h':>9}{'wall h':>9}")
        for stage in stages:
            wall = stage.gpu_hours / gpus if stage.gpu_hours else stage.cpu_hours / 16
            lines.append(
                f"{stage.number:>2}  {stage.name:<36}{stage.disk:>9.1f}{stage.cpu_hours:>12.1f}{stage.gpu_hours:>9.0f}{wall:>9.1f}"
            )
        total = [sum(getattr(stage, key) for stage in stages) for key in ("disk", "cpu_hours", "gpu_hours")]
        wall = sum(stage.gpu_hours / gpus if stage.gpu_hours else stage.cpu_hours / 16 for stage in stages)
        lines.append(f"{'':<4}{'all':<36}{total[0]:>9.1f}{total[1]:>12.1f}{total[2]:>9.0f}{wall:>9.1f}")
        parts.append("\n".join(lines))
    parts.append(
        "GPU hours are those of the V100s that HuBERT's authors give their times for; wall hours count 16 CPU cores. "
        "Layer features (stages 5, 6) can be removed once labelled."
    )
    return "\n\n".join(parts)
