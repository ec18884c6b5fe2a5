"""Estimate the cost of the LibriSpeech recipe before it starts: disk space, CPU hours and GPU hours of each stage.

Each rate below says where it comes from: measured, published or guessed. Sizes of features and labels follow from the number of frames; a
test compares them with the bytes of a small run. Labels and probing come straight from audio. On disk are only features of the share of
the speech that clusterers are fitted on, in float16, until they are fitted.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence

SECONDS = 3600
MFCC_RATE, HUBERT_RATE = 100, 50  # frames per second
MFCC_DIMENSIONS = 39
SHARE_BYTES = 2  # per value of the clusterers' features: float16

# Measured on two shared AMD EPYC cores with 'softhubert features mfcc' and 'gmm dump' on one hour of train-clean-100, start-up included:
# hours of audio per hour of one core.
MFCC_SPEED = 460.0
LABEL_SPEED = 380.0
LABEL_BYTES = 54  # bytes per frame of a soft-label file, measured there (100 components, perplexity 4, mass 0.999)
HARD_LABEL_BYTES = 4  # bytes per frame of a .km file: up to three digits and a space
# A soft-label file takes more disk while it is written: 0.4 times as much again while the parts of a shard are put together, and half as
# much again where two shards are joined and removed; less where there are more.
WRITING = 0.5
# Guesses, because no full-size run was timed yet: core hours per system for fitting a clusterer and for decoding with a language model.
CLUSTERING_HOURS, DECODING_HOURS = 2.0, 20.0
# Hsu et al. (2021), section IV-B: 100k updates of 32 × 87.5 s of audio took 9.5 hours on 32 GPUs (V100).
PUBLISHED_GPUS, PUBLISHED_BATCH, PUBLISHED_SECONDS = 32, 87.5, 9.5 * SECONDS / 100_000
GPU_TRAINING_SPEED = PUBLISHED_BATCH / PUBLISHED_SECONDS  # seconds of audio per second of one GPU
GPU_FORWARD_SPEED = 3 * GPU_TRAINING_SPEED  # in a training step, the backward pass takes twice as long as the forward pass
# The share of the speech that is probed and clustered: a tenth, as HuBERT's authors took, and no more than they had of 960 hours.
SHARE, MOST_SHARE_HOURS = 0.1, 100.0


class Size(NamedTuple):
    """The size of a full recipe.

    Attributes:
        updates: pretraining updates in each iteration, of 32 × 87.5 s of audio each.
        finetuning: fine-tuning updates, of 8 × 200 s of audio each.
        cost: GPU time per update and size of a checkpoint, relative to Base.
        dimensions: dimensions of the model's hidden states.
    """

    updates: Sequence[int]
    finetuning: int
    cost: float
    dimensions: int


class StageCost(NamedTuple):
    """What one stage needs.

    Attributes:
        number: in ``examples/librispeech``.
        name: what it does.
        disk: GB that it leaves.
        temporary: GB that are there besides while it runs; those of stage 1 stay until stage 2 has ended.
        cpu_hours: hours of one CPU core.
        gpu_hours: hours of one GPU.
    """

    number: int
    name: str
    disk: float
    temporary: float
    cpu_hours: float
    gpu_hours: float


BASE = Size((250_000, 400_000), 80_000, 1.0, 768)
# Large, 60k h: 400k updates of 128 × 56.25 s from Base's second-iteration labels (Hsu et al. 2021).
# Its cost follows from the ratio of parameters, 317 M to 95 M.
LARGE = Size((250_000, 400_000), 320_000, 3.3, 1024)


def share_of(hours: float) -> float:
    """The share of the speech, in (0, 1], that is probed and clustered by default."""
    return min(SHARE, MOST_SHARE_HOURS / hours)


def feature_gigabytes(hours: float, rate: int, dimensions: int) -> float:
    """The size of features as clusterers get them, for hours of speech at ``rate`` frames per second."""
    return hours * SECONDS * rate * dimensions * SHARE_BYTES / 1e9


def label_gigabytes(hours: float, rate: int, bytes_per_frame: float) -> float:
    """The size of labels of hours of speech at ``rate`` frames per second."""
    return hours * SECONDS * rate * bytes_per_frame / 1e9


def plan(hours: float, systems: int, *, percent: Optional[float] = None) -> List[StageCost]:
    """Estimate stages 0 to 10 of ``examples/librispeech``.

    Args:
        hours: hours of speech to pretrain on; above 10,000 the Large model is planned.
        systems: number of pretraining targets compared; each has its own two iterations. The first of several is k-means, with hard
            labels; all others have soft ones.
        percent: fraction of the speech that is used to probe layers and to fit clusters; by default :func:`share_of`.

    Returns:
        The stages, in order.
    """
    size = LARGE if hours > 10_000 else BASE
    share = share_of(hours) if percent is None else percent
    audio = 0.06 * hours  # FLAC at 16 kHz: LibriSpeech's 960 h are 58 GB
    hard = min(1, systems - 1)
    soft = systems - hard

    def pretraining(updates: int) -> float:
        return systems * size.cost * updates * PUBLISHED_GPUS * PUBLISHED_SECONDS / SECONDS

    def labels(number: int, name: str, rate: int, features: float, cpu_hours: float, gpu_hours: float) -> StageCost:
        of_soft = soft * label_gigabytes(hours, rate, LABEL_BYTES)
        left = of_soft + hard * label_gigabytes(hours, rate, HARD_LABEL_BYTES)
        return StageCost(number, name, left, max(features, WRITING * of_soft), cpu_hours, gpu_hours)

    checkpoints = 4.0 * size.cost * systems  # a few files with the optimizer's state, 12 bytes per parameter each
    forward = systems * size.cost * hours / GPU_FORWARD_SPEED
    mfcc = hours / MFCC_SPEED
    label = systems * hours / LABEL_SPEED
    finetuning = systems * size.cost * size.finetuning * 8 * 200 / GPU_TRAINING_SPEED / SECONDS
    first = feature_gigabytes(share * hours, MFCC_RATE, MFCC_DIMENSIONS)
    layer = systems * feature_gigabytes(share * hours, HUBERT_RATE, size.dimensions)
    return [
        StageCost(0, "data", audio, 0, hours / 5000, 0),
        StageCost(1, "MFCC of the share", 0, first, share * mfcc, 0),
        StageCost(2, "clustering", 0.01, first, systems * CLUSTERING_HOURS, 0),
        labels(3, "labels from audio", MFCC_RATE, 0, systems * mfcc + label, 0),
        StageCost(4, "pretraining, iteration 1", checkpoints, 0, 0, pretraining(size.updates[0])),
        StageCost(5, "probing from audio", 0.01, 0, 0, share * forward + systems),
        labels(6, "layer of the share, clustering, labels", HUBERT_RATE, layer, label * size.dimensions / 39, (1 + share) * forward),
        StageCost(7, "pretraining, iteration 2", checkpoints, 0, 0, pretraining(size.updates[1])),
        StageCost(8, "fine-tuning", checkpoints, 0, 0, finetuning),
        StageCost(9, "decoding", 0.1, 0, systems * DECODING_HOURS, systems * 0.1),
        StageCost(10, "report", 0.1, 0, 0.1, 0),
    ]


def most_disk(stages: Sequence[StageCost]) -> float:
    """The largest number of GB that are on disk at the same time: what the stages so far leave, and what the current one has besides."""
    left, most = 0.0, 0.0
    for stage in stages:
        left += stage.disk
        most = max(most, left + stage.temporary)
    return most


def plan_tables(hours: Sequence[float], systems: int, gpus: int, percent: Optional[float] = None) -> str:
    """Write the plans as text tables.

    Args:
        hours: hours of speech, one table per value.
        systems: number of pretraining targets compared.
        gpus: number of GPUs used at the same time, for the wall-clock hours.
        percent: fraction of the speech for probing and clustering; by default :func:`share_of`.
    """
    parts = []
    for amount in hours:
        stages = plan(amount, systems, percent=percent)
        size = "Large" if amount > 10_000 else "Base"
        share = share_of(amount) if percent is None else percent
        lines = [f"{amount:g} h of speech, {size}, {systems} systems, {gpus} GPUs; probing and clustering on {share * amount:g} h", ""]
        lines.append(f"{'stage':<44}{'disk GB':>9}{'for a time':>12}{'CPU-core h':>12}{'GPU h':>9}{'wall h':>9}")
        for stage in stages:
            costs = f"{stage.cpu_hours:>12.1f}{stage.gpu_hours:>9.0f}{_wall(stage, gpus):>9.1f}"
            lines.append(f"{stage.number:>2}  {stage.name:<40}{stage.disk:>9.1f}{stage.temporary:>12.1f}{costs}")
        disk, cpu_hours, gpu_hours = (sum(getattr(stage, key) for stage in stages) for key in ("disk", "cpu_hours", "gpu_hours"))
        wall = sum(_wall(stage, gpus) for stage in stages)
        lines.append(f"{'':<4}{'all':<40}{disk:>9.1f}{'':>12}{cpu_hours:>12.1f}{gpu_hours:>9.0f}{wall:>9.1f}")
        lines.append(f"{'':<4}{'most at the same time':<40}{most_disk(stages):>9.1f}")
        parts.append("\n".join(lines))
    parts.append(
        "GPU hours are for V100 GPUs, on which HuBERT's authors report their times. Wall hours assume 16 CPU cores. "
        "The first of several systems is k-means, with hard labels. Features are written for the clustered share only, in float16, and "
        "removed when they are used; labels are made from audio and their shards removed when they are merged."
    )
    return "\n\n".join(parts)


def _wall(stage: StageCost, gpus: int) -> float:
    return stage.gpu_hours / gpus if stage.gpu_hours else stage.cpu_hours / 16
