"""The four covariance types as exponential families, so that one engine serves them all.

A Gaussian's log density is linear in a vector ``a(x)`` that does not depend on the component: ``log N(x | k) = a(x) · η_k - A_k``. The
E-step of a chunk is then one matrix product, and the sums that the M-step needs are another one, ``Σ_n r_nk a(x_n)`` (Bishop 2006,
section 2.4). All inputs are in coordinates centred on the data, where single precision is enough for the products.
"""

from __future__ import annotations

from typing import Dict, Tuple

import torch

from softhubert_plugin.errors import SoftHubertError

Parameters = Tuple[torch.Tensor, torch.Tensor]


class Diagonal:
    """Diagonal covariances: variances ``(K, D)``; ``a(x) = [x, x²]``."""

    def columns(self, dimension: int) -> int:
        """The length of ``a(x)``."""
        return 2 * dimension

    def statistics(self, frames: torch.Tensor) -> torch.Tensor:
        """``a(x)`` of ``(n, D)`` frames: ``(n, columns)``."""
        dimension = frames.shape[1]
        both = frames.new_empty(len(frames), 2 * dimension)
        both[:, :dimension] = frames
        torch.mul(frames, frames, out=both[:, dimension:])
        return both

    def natural(self, means: torch.Tensor, covariances: torch.Tensor) -> Parameters:
        """The natural parameters: ``η`` as ``(columns, K)``, and ``-A`` without its ``2π`` term as ``(K,)``."""
        precisions = covariances.reciprocal()
        constant = -0.5 * ((means.square() * precisions).sum(1) + covariances.log().sum(1))
        return torch.cat([means * precisions, -0.5 * precisions], dim=1).T, constant

    def moments(self, counts: torch.Tensor, sums: torch.Tensor, floor: float) -> Parameters:
        """Means and covariances that maximise the expected likelihood.

        Args:
            counts: ``(K,)`` expected frames of each component.
            sums: ``(K, columns)`` expected sums of ``a(x)``.
            floor: the smallest variance, as a share of the variance of all frames.
        """
        expected = sums / counts[:, None]
        means, squares = expected.chunk(2, dim=1)
        variance = _overall_variance(counts, sums)
        return means, torch.maximum(squares - means.square(), floor * variance)


class Spherical:
    """Spherical covariances: one variance per component ``(K,)``; ``a(x) = [x, |x|²]``."""

    def columns(self, dimension: int) -> int:
        """The length of ``a(x)``."""
        return dimension + 1

    def statistics(self, frames: torch.Tensor) -> torch.Tensor:
        """As :meth:`Diagonal.statistics`."""
        return torch.cat([frames, frames.square().sum(1, keepdim=True)], dim=1)

    def natural(self, means: torch.Tensor, covariances: torch.Tensor) -> Parameters:
        """As :meth:`Diagonal.natural`."""
        precisions = covariances.reciprocal()[:, None]
        constant = -0.5 * ((means.square() * precisions).sum(1) + means.shape[1] * covariances.log())
        return torch.cat([means * precisions, -0.5 * precisions], dim=1).T, constant

    def moments(self, counts: torch.Tensor, sums: torch.Tensor, floor: float) -> Parameters:
        """As :meth:`Diagonal.moments`."""
        expected = sums / counts[:, None]
        means, squares = expected[:, :-1], expected[:, -1]
        total = sums.sum(0) / counts.sum()
        variance = (total[-1] - total[:-1].square().sum()) / means.shape[1]
        return means, ((squares - means.square().sum(1)) / means.shape[1]).clamp(min=float(floor * variance))


class Full:
    """Full covariances: matrices ``(K, D, D)``; ``a(x)`` is ``x`` and the upper triangle of ``x xᵀ``."""

    def columns(self, dimension: int) -> int:
        """The length of ``a(x)``."""
        return dimension + dimension * (dimension + 1) // 2

    def statistics(self, frames: torch.Tensor) -> torch.Tensor:
        """As :meth:`Diagonal.statistics`."""
        row, column = torch.triu_indices(frames.shape[1], frames.shape[1], device=frames.device)
        return torch.cat([frames, frames[:, row] * frames[:, column]], dim=1)

    def natural(self, means: torch.Tensor, covariances: torch.Tensor) -> Parameters:
        """As :meth:`Diagonal.natural`."""
        factors = cholesky(covariances)
        precisions = torch.cholesky_inverse(factors)
        linear = torch.einsum("kij,kj->ki", precisions, means)
        constant = -0.5 * (means * linear).sum(1) - factors.diagonal(dim1=1, dim2=2).log().sum(1)
        row, column = torch.triu_indices(means.shape[1], means.shape[1], device=means.device)
        # An entry of the triangle that is off the diagonal stands for two entries of the matrix.
        weight = torch.where(row == column, -0.5, -1.0).to(means.dtype)
        return torch.cat([linear, precisions[:, row, column] * weight], dim=1).T, constant

    def moments(self, counts: torch.Tensor, sums: torch.Tensor, floor: float) -> Parameters:
        """As :meth:`Diagonal.moments`; the floor is added to the diagonal, which keeps the matrices positive definite."""
        components, dimension = len(counts), _dimension_of_full(sums.shape[1])
        expected = sums / counts[:, None]
        means = expected[:, :dimension]
        row, column = torch.triu_indices(dimension, dimension, device=sums.device)
        second = sums.new_zeros(components, dimension, dimension)
        second[:, row, column] = second[:, column, row] = expected[:, dimension:]
        total = sums.sum(0) / counts.sum()
        variance = total[dimension:][row == column] - total[:dimension].square()
        return means, second - means[:, :, None] * means[:, None, :] + torch.diag(floor * variance)


class Tied:
    """Tied covariances: one matrix ``(D, D)`` for all components; ``a(x) = x``, since ``xᵀ Σ⁻¹ x`` is the same for every component."""

    def columns(self, dimension: int) -> int:
        """The length of ``a(x)``."""
        return dimension

    def statistics(self, frames: torch.Tensor) -> torch.Tensor:
        """As :meth:`Diagonal.statistics`."""
        return frames

    def natural(self, means: torch.Tensor, covariances: torch.Tensor) -> Parameters:
        """As :meth:`Diagonal.natural`, without the term ``xᵀ Σ⁻¹ x``."""
        factor = cholesky(covariances)
        linear = torch.cholesky_solve(means.T, factor)
        return linear, -0.5 * (means.T * linear).sum(0) - factor.diagonal().log().sum()

    def moments_with(self, counts: torch.Tensor, sums: torch.Tensor, scatter: torch.Tensor, floor: float) -> Parameters:
        """As :meth:`Full.moments`, with ``scatter = Σ x xᵀ`` over all frames, ``(D, D)``."""
        frames = counts.sum()
        means = sums / counts[:, None]
        mean = sums.sum(0) / frames
        within = scatter / frames - (means * counts[:, None]).T @ means / frames
        return means, within + torch.diag(floor * (scatter.diagonal() / frames - mean.square()))


def cholesky(matrices: torch.Tensor) -> torch.Tensor:
    """The Cholesky factors of covariance matrices ``(…, D, D)``.

    Raises:
        SoftHubertError: one is singular: the frames vary in fewer than D dimensions.
    """
    factors, failed = torch.linalg.cholesky_ex(matrices)
    if bool(failed.any()):
        raise SoftHubertError(
            f"covariance matrices of {matrices.shape[-1]} dimensions became singular, because too few frames vary in all of them; give "
            "more frames, reduce the dimensions with --pca, or choose --covariance diag"
        )
    return factors


FAMILIES: Dict[str, Diagonal | Spherical | Tied | Full] = {"diag": Diagonal(), "spherical": Spherical(), "tied": Tied(), "full": Full()}


def _overall_variance(counts: torch.Tensor, sums: torch.Tensor) -> torch.Tensor:
    mean, square = (sums.sum(0) / counts.sum()).chunk(2)
    return square - mean.square()


def _dimension_of_full(columns: int) -> int:
    dimension = 0
    while Full().columns(dimension) < columns:
        dimension += 1
    return dimension
