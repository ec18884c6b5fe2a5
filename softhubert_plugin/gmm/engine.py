"""The inner loop of all work with a mixture: log densities, responsibilities and their sums, one chunk of frames at a time.

It computes in single precision on frames centred on the mixture, which is accurate to about 1e-5 of a log density, and sums in double
precision. :class:`~softhubert_plugin.gmm.mixture.GaussianMixture` computes the same in double precision throughout; tests compare the
two. It runs on any device.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import Optional, Tuple, Union

import numpy as np
import torch

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.gmm.families import FAMILIES, Tied, cholesky
from softhubert_plugin.gmm.mixture import GaussianMixture

# Responsibilities under this share are lost in single-precision sums anyway.
NEGLIGIBLE = 2.0**-24
# Below this density a sparse product is faster than a dense one; the two cost the same at a density of about a tenth.
SPARSE_BELOW = 0.04
# Entries of the largest matrix held at once. On a CPU 16 MB, small enough for caches, and for the allocator to reuse the memory; on a GPU
# 256 MB, enough work for each launch.
MAX_ENTRIES = 1 << 22
MAX_ENTRIES_ON_GPU = 1 << 26

FrameRows = Union[np.ndarray, torch.Tensor]


@dataclass
class Sums:
    """What the M-step needs to know about all frames: float64 sums over chunks and processes.

    Attributes:
        flat: all sums in one vector, so that one all-reduce sums over processes.
        components: K.
        columns: the length of ``a(x)`` (:mod:`softhubert_plugin.gmm.families`).
    """

    flat: torch.Tensor
    components: int
    columns: int

    @classmethod
    def zeros(cls, mixture: GaussianMixture, device: str) -> Sums:
        """The sums before any frame was seen."""
        components, dimension = mixture.means.shape
        family = FAMILIES[mixture.covariance_type]
        scatter = dimension * dimension if isinstance(family, Tied) else 0
        columns = family.columns(dimension)
        return cls(torch.zeros(2 + components * (1 + columns) + scatter, dtype=torch.float64, device=device), components, columns)

    @property
    def frames(self) -> torch.Tensor:
        """The number of frames; a scalar."""
        return self.flat[0]

    @property
    def log_likelihood(self) -> torch.Tensor:
        """The log-likelihood summed over frames, in nats; a scalar."""
        return self.flat[1]

    @property
    def counts(self) -> torch.Tensor:
        """``(K,)`` expected frames of each component."""
        return self.flat[2 : 2 + self.components]

    @property
    def statistics(self) -> torch.Tensor:
        """``(K, columns)`` expected sums of ``a(x)`` for each component."""
        start = 2 + self.components
        return self.flat[start : start + self.components * self.columns].view(self.components, self.columns)

    @property
    def scatter(self) -> torch.Tensor:
        """``(D, D)``: ``Σ x xᵀ`` over all frames; for tied covariances only."""
        rest = self.flat[2 + self.components * (1 + self.columns) :]
        side = math.isqrt(len(rest))
        return rest.view(side, side)


@dataclass(frozen=True)
class Coordinates:
    """The coordinates in which an engine computes, float64: centred on the mixture and, for full covariances, whitened.

    In these coordinates single precision is enough to distinguish components. Without whitening, products of correlated dimensions would
    cancel.

    Attributes:
        centre: ``(D,)``.
        whiten: ``(D, D)``, ``y = (x - centre) @ whiten``, or ``None``.
    """

    centre: torch.Tensor
    whiten: Optional[torch.Tensor] = None

    @classmethod
    def of(cls, mixture: GaussianMixture) -> Coordinates:
        """The coordinates that suit a mixture."""
        centre = mixture.weights @ mixture.means
        if mixture.covariance_type != "full":
            return cls(centre)
        means = mixture.means - centre
        spread = torch.einsum("k,kij->ij", mixture.weights, mixture.covariances) + (means.T * mixture.weights) @ means
        return cls(centre, torch.linalg.inv(cholesky(spread)).T)

    def inside(self, mixture: GaussianMixture) -> GaussianMixture:
        """A mixture converted from the original coordinates to these."""
        means, covariances = mixture.means - self.centre, mixture.covariances
        if self.whiten is not None:
            means, covariances = means @ self.whiten, self.whiten.T @ covariances @ self.whiten
        return GaussianMixture(mixture.weights, means, covariances, mixture.covariance_type)

    def outside(self, mixture: GaussianMixture) -> GaussianMixture:
        """A mixture converted from these coordinates back to the original ones: the inverse of :meth:`inside`."""
        means, covariances = mixture.means, mixture.covariances
        if self.whiten is not None:
            back = torch.linalg.inv(self.whiten)
            means, covariances = means @ back, back.T @ covariances @ back
        return GaussianMixture(mixture.weights, means + self.centre, covariances, mixture.covariance_type)

    @property
    def log_scale(self) -> float:
        """What the change of coordinates adds to a log density, in nats."""
        return 0.0 if self.whiten is None else float(torch.linalg.slogdet(self.whiten).logabsdet)


class Engine:
    """One mixture, ready to be evaluated on many frames.

    Args:
        mixture: the mixture; its transform, if any, is applied to the frames.
        device: where to compute.
    """

    def __init__(self, mixture: GaussianMixture, device: str = "cpu") -> None:
        self.mixture = mixture
        self.device = device
        self.family = FAMILIES[mixture.covariance_type]
        self.coordinates = Coordinates.of(mixture)
        inside = self.coordinates.inside(mixture)
        natural, constant = self.family.natural(inside.means, inside.covariances)
        constant = constant + mixture.weights.log() - 0.5 * inside.means.shape[1] * math.log(2 * math.pi) + self.coordinates.log_scale
        self._natural, self._constant = self._place(natural), self._place(constant)
        # The term that the densities of all components share is left out of the product, and added to the likelihood.
        self._common: Optional[torch.Tensor] = None
        if isinstance(self.family, Tied):
            self._common = self._place(torch.linalg.inv(cholesky(inside.covariances)).T)
        # Features to coordinates: (x - offset) @ matrix - shift.
        offset, matrix, shift = self.coordinates.centre, self.coordinates.whiten, None
        if mixture.transform is not None:
            offset, shift = mixture.transform.mean, offset
            if matrix is None:
                matrix = mixture.transform.matrix
            else:
                matrix, shift = mixture.transform.matrix @ matrix, shift @ matrix
        self._offset = self._place(offset)
        self._matrix = None if matrix is None else self._place(matrix)
        self._shift = None if shift is None else self._place(shift)

    def _place(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.device, torch.float32).contiguous()

    def centred(self, frames: FrameRows) -> torch.Tensor:
        """Convert features ``(n, input dimension)``, on the host or on the device, to this engine's coordinates: ``(n, D)`` float32.

        Raises:
            SoftHubertError: the features have another dimension than the mixture was fitted on.
        """
        if frames.shape[1] != self.mixture.input_dimension:
            raise SoftHubertError(
                f"features of dimension {frames.shape[1]} for a mixture fitted on dimension {self.mixture.input_dimension}; "
                "use the features that the mixture was fitted on"
            )
        # Uploaded before they are converted: stored as float16 they are half as large.
        x = torch.as_tensor(frames).to(self.device).float() - self._offset
        if self._matrix is not None:
            x = x @ self._matrix
        return x if self._shift is None else x - self._shift

    def log_joint(self, frames: FrameRows) -> torch.Tensor:
        """Log joint densities ``log w_k + log N(x | k)``.

        Args:
            frames: ``(n, input dimension)``.

        Returns:
            ``(n, K)`` float32, in nats.
        """
        x = self.centred(frames)
        joint = self._joint(x, self.family.statistics(x))
        common = self._common_term(x)
        return joint if common is None else joint.add_(common[:, None])

    def score(self, frames: FrameRows) -> float:
        """The mean log-likelihood of frames ``(n, input dimension)``, in nats per frame."""
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for part in self.parts(frames):
            total += self.log_joint(part).logsumexp(1).double().sum()
        return float(total) / len(frames)

    def accumulate(self, frames: FrameRows, sums: Sums) -> None:
        """Add the expected statistics of frames ``(n, input dimension)`` to ``sums``: one chunk of the E-step."""
        for part in self.parts(frames):
            x = self.centred(part)
            statistics = self.family.statistics(x)
            responsibilities, likelihood = responsibilities_of(self._joint(x, statistics))
            common = self._common_term(x)
            if common is not None:
                likelihood += common
                sums.scatter.add_(x.T @ x)
            sums.frames.add_(len(x))
            sums.log_likelihood.add_(likelihood.double().sum())
            sums.counts.add_(responsibilities.sum(0))
            sums.statistics.add_(weighted_sums(responsibilities, statistics))

    @property
    def part_frames(self) -> int:
        """The most frames whose ``(n, K)`` and ``(n, columns)`` matrices are held at once."""
        width = max(self.mixture.n_components, self.family.columns(self.mixture.means.shape[1]))
        return max(1, (MAX_ENTRIES if self.device == "cpu" else MAX_ENTRIES_ON_GPU) // width)

    def parts(self, frames: FrameRows, most: Optional[int] = None) -> Tuple[FrameRows, ...]:
        """Cut frames into parts of at most :attr:`part_frames`, and on a CPU of at most ``most`` frames."""
        step = self.part_frames if most is None or self.device != "cpu" else min(most, self.part_frames)
        return tuple(frames[start : start + step] for start in range(0, len(frames), step))

    def maximise(self, sums: Sums, floor: float) -> GaussianMixture:
        """The M-step: the mixture that follows from sums under this mixture's responsibilities.

        Args:
            sums: the expected statistics of all frames.
            floor: the smallest variance, as a share of the variance of all frames.
        """
        counts = sums.counts.clamp(min=torch.finfo(torch.float64).tiny).cpu()
        statistics = sums.statistics.cpu()
        if isinstance(self.family, Tied):
            means, covariances = self.family.moments_with(counts, statistics, sums.scatter.cpu(), floor)
        else:
            means, covariances = self.family.moments(counts, statistics, floor)
        inside = GaussianMixture(counts / counts.sum(), means, covariances, self.mixture.covariance_type)
        return replace(self.coordinates.outside(inside), transform=self.mixture.transform)

    def _joint(self, x: torch.Tensor, statistics: torch.Tensor) -> torch.Tensor:
        """Log joint densities ``(n, K)`` without :meth:`_common_term`."""
        return torch.addmm(self._constant, statistics, self._natural)

    def _common_term(self, x: torch.Tensor) -> Optional[torch.Tensor]:
        return None if self._common is None else -0.5 * (x @ self._common).square().sum(1)


def responsibilities_of(joint: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
    """Responsibilities ``(n, K)`` and log-likelihoods ``(n,)`` from log joint densities ``(n, K)``."""
    responsibilities = torch.softmax(joint, dim=1)
    # log Σ exp from the softmax's result: the largest log joint minus the log of its responsibility.
    return responsibilities, joint.amax(1) - responsibilities.amax(1).log()


def weighted_sums(responsibilities: torch.Tensor, statistics: torch.Tensor) -> torch.Tensor:
    """Sum statistics weighted by responsibilities: ``Σ_n r_nk a(x_n)``.

    The product is sparse where almost all responsibilities are negligible, as in high dimension.

    Args:
        responsibilities: ``(n, K)``.
        statistics: ``(n, columns)``, ``a(x)`` of each frame.

    Returns:
        ``(K, columns)``.
    """
    heavy = responsibilities > NEGLIGIBLE
    if responsibilities.device.type != "cpu" or int(heavy.sum()) > SPARSE_BELOW * heavy.numel():
        return responsibilities.T @ statistics
    component, frame = heavy.T.nonzero(as_tuple=True)
    starts = torch.searchsorted(component, torch.arange(responsibilities.shape[1] + 1))
    with warnings.catch_warnings():
        # PyTorch warns once per process about the sparse layout in general, not about this use of it.
        warnings.filterwarnings("ignore", message="Sparse (CSR tensor support|invariant checks)", category=UserWarning)
        sparse = torch.sparse_csr_tensor(starts, frame, responsibilities[frame, component], responsibilities.T.shape)
        return sparse @ statistics
