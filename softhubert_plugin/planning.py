"""Estimate the cost of the LibriSpeech recipe before it starts: disk space, CPU hours and GPU hours of each stage.

Each rate below says where it comes from: measured, published or guessed. Sizes of features follow from the number of frames and values.
"""

from __future__ import annotations

from typing import List, NamedTuple, Sequence

SECONDS = 3600
MFCC_RATE, HUBERT_RATE = 100, 50  # frames per second

# Measured on two shared AMD EPYC cores with 'softhubert features mfcc' and 'gmm dump' on one hour of train-clean-100, start-up included:
# hours of audio per hour of one core.
MFCC_SPEED = 460.0
LABEL_SPEED = 380.0
LABEL_BYTES = 54  # bytes per frame of a soft-label file, measured there (100 components, perplexity 4, mass 0.999)
# Guesses, because no full-size run was timed yet: core hours per system for fitting a clusterer and for decoding with a language model.
CLUSTERING_HOURS, DECODING_HOURS = 2.0, 20.0
# Hsu et al. (2021), section IV-B: 100k updates of 32 × 87.5 s of audio took 9.5 hours on 32 GPUs (V100).
PUBLISHED_GPUS, PUBLISHED_BATCH, PUBLISHED_SECONDS = 32, 87.5, 9.5 * SECONDS / 100_000
GPU_TRAINING_SPEED = PUBLISHED_BATCH / PUBLISHED_SECONDS  # seconds of audio per second of one GPU
GPU_FORWARD_SPEED = 3 * GPU_TRAINING_SPEED  # in a training step, the backward pass takes twice as long as the forward pass


class Size(NamedTuple):
    """The size of a full recipe.

    Attributes:
        updates: pretraining updates in each iteration, of 32 × 87.5 s of audio each.
        finetuning: fine-tuning updates, of 8 × 200 s of audio each.
        cost: GPU time per update, relative to Base.
        dimensions: dimensions of the model's hidden states.
        layers: number of transformer layers.
    """

    updates: Sequence[int]
    finetuning: int
    cost: float
    dimensions: int
    layers: int


class Stage(NamedTuple):
    """What one stage needs: disk space in GB, CPU-core hours and GPU hours."""

    number: int
    name: str
    disk: float
    cpu_hours: float
    gpu_hours: float


BASE = Size((250_000, 400_000), 80_000, 1.0, 768, 12)
# Large, 60k h: 400k updates of 128 × 56.25 s from Base's second-iteration labels (Hsu et al. 2021).
# Its cost follows from the ratio of parameters, 317 M to 95 M.
LARGE = Size((250_000, 400_000), 320_000, 3.3, 1024, 24)


def plan(hours: float, systems: int, *, percent: float = 0.1) -> List[Stage]:
    """Estimate stages 0 to 10 of ``examples/librispeech``.

    Args:
        hours: hours of speech to pretrain on; above 10,000 the Large model is planned.
        systems: number of pretraining targets compared; each has its own two iterations.
        percent: fraction of the speech that is used to probe layers and to fit clusters.

    Returns:
        The stages, in order.
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
    """Write the plans as text tables.

    Args:
        hours: hours of speech, one table per value.
        systems: number of pretraining targets compared.
        gpus: number of GPUs used at the same time, for the wall-clock hours.
        percent: fraction of the speech for probing.
    """
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
        "GPU hours are for V100 GPUs, on which HuBERT's authors report their times. Wall hours assume 16 CPU cores. "
        "Layer features (stages 5 and 6) can be deleted once they are labelled."
    )
    return "\n\n".join(parts)
