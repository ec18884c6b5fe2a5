"""Expectation maximisation over streamed chunks, in one or several processes.

One iteration is one pass over the data: each process sums over its chunks, one all-reduce sums over processes, and every process takes
the same M-step (Bishop 2006, section 9.2.2).
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import Callable, Dict, Iterable, List, Sequence, Tuple

import numpy as np
import torch
from tqdm import tqdm

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shard_chunks import Chunk
from softhubert_plugin.gmm import distributed
from softhubert_plugin.gmm.engine import Engine, FrameRows, Sums
from softhubert_plugin.gmm.feed import Feed
from softhubert_plugin.gmm.mixture import GaussianMixture

logger = logging.getLogger(__name__)

# A component that explains fewer frames than this cannot be estimated.
EMPTY_BELOW = 2.0

IterationRecord = Dict[str, float]


@dataclass(frozen=True)
class Fit:
    """The state of a fit.

    Attributes:
        mixture: the mixture after the last iteration.
        curve: one record per iteration: its number ``iteration``, ``train`` and ``held_out`` log-likelihood in nats per frame, the number
            of ``effective`` components, and how many components were ``reseeded``.
        finished: whether the fit has converged or used up its iterations.
    """

    mixture: GaussianMixture
    curve: List[IterationRecord]
    finished: bool = False

    @property
    def iteration(self) -> int:
        """The number of iterations done."""
        return len(self.curve)


def fit_mixture(
    start: Fit,
    chunks: Sequence[Chunk],
    held_out: np.ndarray,
    *,
    iterations: int,
    tolerance: float,
    floor: float,
    seed: int,
    device: str = "cpu",
    keep: Callable[[Fit], None] = lambda fit: None,
) -> Fit:
    """Iterate EM until the held-out likelihood stops growing.

    Args:
        start: the state to continue from.
        chunks: the frames to fit on; each process reads its own share of the chunks.
        held_out: ``(n, input dimension)`` frames that are not fitted on.
        iterations: the maximum number of iterations, including those of ``start``.
        tolerance: stop when an iteration gains less than this share of the held-out log-likelihood.
        floor: the smallest variance, as a share of the variance of all frames.
        seed: of the directions in which empty components are moved.
        device: where to compute.
        keep: called with the state after each iteration.

    Returns:
        The finished fit.

    Raises:
        SoftHubertError: the held-out likelihood is NaN or infinite.
    """
    fit = start
    if fit.finished:
        return fit
    engine = Engine(fit.mixture, device)
    feed = Feed(distributed.own_share(chunks), device, part_frames=engine.part_frames)
    measured = torch.from_numpy(held_out).to(device)
    before = engine.score(measured)
    progress = tqdm(total=iterations, initial=fit.iteration, desc="EM", unit="it", disable=None if distributed.rank() == 0 else True)
    while not fit.finished:
        sums = expectation(engine, feed)
        mixture, reseeded = refill(engine.maximise(sums, floor), sums.counts.cpu(), seed=seed + fit.iteration)
        engine = Engine(mixture, device)
        after = engine.score(measured)
        if not math.isfinite(after):
            raise SoftHubertError(
                "EM: the held-out log-likelihood became NaN or infinite; give more frames, ask for fewer components, or use --pca"
            )
        record = {
            "iteration": fit.iteration + 1,
            "train": float(sums.log_likelihood / sums.frames),
            "held_out": after,
            "effective": effective_components(mixture),
            "reseeded": reseeded,
        }
        converged = not reseeded and after - before < tolerance * max(abs(before), 1.0)
        fit = Fit(mixture, [*fit.curve, record], converged or fit.iteration + 1 >= iterations)
        before = after
        keep(fit)
        progress.update()
        progress.set_postfix_str(f"held-out {after:.4f} nats, {record['effective']:.1f} components used")
        if reseeded:
            logger.info("iteration %d: %d empty component(s) re-seeded by splitting the heaviest", fit.iteration, reseeded)
    progress.close()
    return fit


def expectation(engine: Engine, frames: Iterable[FrameRows]) -> Sums:
    """Run the E-step over this process's frames, such as a :class:`~softhubert_plugin.gmm.feed.Feed`.

    Args:
        frames: parts of ``(n, input dimension)`` frames.

    Returns:
        The sums over the frames of all processes, the same in every process.
    """
    sums = Sums.zeros(engine.mixture, engine.device)
    for part in frames:
        engine.accumulate(part, sums)
    distributed.add_up(sums.flat)
    return sums


def refill(mixture: GaussianMixture, counts: torch.Tensor, *, seed: int) -> Tuple[GaussianMixture, int]:
    """Move every empty component next to the heaviest one, and give each of the two half of the heaviest one's weight.

    Args:
        counts: ``(K,)`` expected frames of each component; a component with fewer than :data:`EMPTY_BELOW` is empty.
        seed: of the direction in which a component is moved.

    Returns:
        The mixture, and how many components were moved.
    """
    empty = torch.nonzero(counts < EMPTY_BELOW).flatten().tolist()
    if not empty or len(empty) == mixture.n_components:
        return mixture, 0
    generator = torch.Generator().manual_seed(seed)
    weights, means, covariances = mixture.weights.clone(), mixture.means.clone(), mixture.covariances.clone()
    for component in empty:
        heaviest = int(weights.argmax())
        deviation = _deviation(covariances, mixture.covariance_type, heaviest)
        direction = torch.randint(0, 2, means[component].shape, generator=generator, dtype=torch.float64) * 2 - 1
        means[component] = means[heaviest] + 0.2 * deviation * direction
        means[heaviest] = means[heaviest] - 0.2 * deviation * direction
        if mixture.covariance_type != "tied":
            covariances[component] = covariances[heaviest]
        weights[component] = weights[heaviest] = weights[heaviest] / 2
    return replace(mixture, weights=weights / weights.sum(), means=means, covariances=covariances), len(empty)


def _deviation(covariances: torch.Tensor, covariance_type: str, component: int) -> torch.Tensor:
    """Standard deviations of one component, ``(D,)``, or ``(1,)`` where all dimensions share one."""
    if covariance_type == "tied":
        return covariances.diagonal().sqrt()
    own = covariances[component]
    return own.diagonal().sqrt() if covariance_type == "full" else own.sqrt().reshape(-1)


def effective_components(mixture: GaussianMixture) -> float:
    """The effective number of components: the perplexity of the weights, K if all weights are equal."""
    return float(torch.exp(-torch.xlogy(mixture.weights, mixture.weights).sum()))
