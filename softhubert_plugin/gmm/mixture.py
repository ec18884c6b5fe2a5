"""A Gaussian mixture: its parameters, log densities and posteriors, and the file that stores it.

A mixture here is finished and immutable. It can be evaluated, saved as safetensors and exchanged with scikit-learn; fitting is in
``learn_gmm``. The notation follows Bishop (2006), section 9.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Optional

import torch
from safetensors import SafetensorError, safe_open

from softhubert_plugin.errors import SoftHubertError, blaming
from softhubert_plugin.files import PathLike
from softhubert_plugin.gmm.described_tensors import load_described, save_described
from softhubert_plugin.gmm.transitions import FullTransitions, Transitions, as_stored, from_stored

if TYPE_CHECKING:
    import sklearn.mixture

MIXTURE_FORMAT = "softhubert-mixture"
_FIELDS = ("covariance_type", "temperature", "metadata")
_OF_TRANSITIONS = "transitions"
_AGAIN = "fit it again with 'softhubert gmm learn'"
COVARIANCE_SHAPES = {"diag": "(K, D)", "spherical": "(K,)", "tied": "(D, D)", "full": "(K, D, D)"}


@dataclass(frozen=True)
class FeatureTransform:
    """An affine map of the features, fitted with the mixture and applied before it: ``(x - mean) @ matrix``.

    Attributes:
        mean: ``(input dimension,)`` float64.
        matrix: ``(input dimension, output dimension)`` float64 (principal axes, scaled when whitening).
    """

    mean: torch.Tensor
    matrix: torch.Tensor

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """Map frames ``(n, input dimension)`` to ``(n, output dimension)``."""
        return (frames - self.mean) @ self.matrix


@dataclass(frozen=True)
class GaussianMixture:
    """K Gaussians in D dimensions, float64.

    Attributes:
        weights: ``(K,)``, positive, summing to one.
        means: ``(K, D)``.
        covariances: variances ``(K, D)`` for ``diag``, ``(K,)`` for ``spherical``; matrices ``(D, D)`` for ``tied``, ``(K, D, D)`` for
            ``full``.
        covariance_type: ``diag``, ``spherical``, ``tied`` or ``full``.
        temperature: tempers the posteriors, ``p ∝ (w_k N(x | k))^(1 / temperature)``.
        transform: applied to features before the mixture, if any.
        metadata: how the mixture was made (feature kind, seed, likelihoods, versions); plain JSON values.
        transitions: how components follow each other in time; ``None`` if frames are taken one by one. The methods here take frames one
            by one in any case; :mod:`~softhubert_plugin.gmm.smoothing` takes whole utterances.

    Raises:
        SoftHubertError: the parameters' shapes do not fit each other, or their values are not finite float64 numbers.
    """

    weights: torch.Tensor
    means: torch.Tensor
    covariances: torch.Tensor
    covariance_type: str = "diag"
    temperature: float = 1.0
    transform: Optional[FeatureTransform] = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    transitions: Optional[Transitions] = None

    def __post_init__(self) -> None:
        if self.means.dim() != 2:
            raise SoftHubertError(f"a mixture's means must have the shape (K, D), found {tuple(self.means.shape)}")
        components, dimension = self.means.shape
        shapes = {
            "diag": (components, dimension),
            "spherical": (components,),
            "tied": (dimension, dimension),
            "full": (components, dimension, dimension),
        }
        if self.covariance_type not in shapes:
            raise SoftHubertError(f"covariance type {self.covariance_type!r}: expected one of {', '.join(shapes)}")
        if tuple(self.covariances.shape) != shapes[self.covariance_type] or tuple(self.weights.shape) != (components,):
            raise SoftHubertError(
                f"a {self.covariance_type} mixture of {components} components in {dimension} dimensions needs covariances "
                f"{COVARIANCE_SHAPES[self.covariance_type]} and weights (K,), found {tuple(self.covariances.shape)} and "
                f"{tuple(self.weights.shape)}"
            )
        values = {"weights": self.weights, "means": self.means, "covariances": self.covariances}
        if self.transform is not None:
            inputs = len(self.transform.mean)
            if tuple(self.transform.matrix.shape) != (inputs, dimension) or self.transform.mean.dim() != 1:
                raise SoftHubertError(
                    f"a mixture's transform needs a mean (inputs,) and a matrix (inputs, {dimension}), found "
                    f"{tuple(self.transform.mean.shape)} and {tuple(self.transform.matrix.shape)}"
                )
            values.update({"transform's mean": self.transform.mean, "transform's matrix": self.transform.matrix})
        for name, value in values.items():
            if value.dtype != torch.float64 or not bool(torch.isfinite(value).all()):
                raise SoftHubertError(f"a mixture's {name} must be finite float64 numbers, found {value.dtype}, or NaN or infinity")
        if not self.temperature > 0 or not math.isfinite(self.temperature):
            raise SoftHubertError(f"temperature {self.temperature}: expected a positive number")
        if isinstance(self.transitions, FullTransitions) and len(self.transitions.matrix) != components:
            raise SoftHubertError(
                f"a mixture of {components} components needs transitions ({components}, {components}), found "
                f"{tuple(self.transitions.matrix.shape)}"
            )

    @property
    def n_components(self) -> int:
        """K."""
        return self.means.shape[0]

    @property
    def input_dimension(self) -> int:
        """The dimension of the features that it takes, before its transform."""
        return self.means.shape[1] if self.transform is None else self.transform.matrix.shape[0]

    @property
    def tempered_weights(self) -> torch.Tensor:
        """``π ∝ w^(1/T)``, ``(K,)``, summing to one: the prior of the tempered posteriors."""
        return torch.softmax(self.weights.log() / self.temperature, dim=0)

    def log_joint(self, frames: torch.Tensor) -> torch.Tensor:
        """Log joint densities ``log w_k + log N(x | μ_k, Σ_k)``.

        Args:
            frames: ``(frames, input dimension)``, any float type.

        Returns:
            ``(frames, K)`` float64, in nats.

        Raises:
            SoftHubertError: the features have another dimension.
        """
        if frames.shape[-1] != self.input_dimension:
            raise SoftHubertError(
                f"features of dimension {frames.shape[-1]} for a mixture fitted on dimension {self.input_dimension}; "
                "use the features that the mixture was fitted on"
            )
        frames = frames.to(torch.float64)
        if self.transform is not None:
            frames = self.transform(frames)
        dimension = self.means.shape[1]
        distance, log_determinant = self._mahalanobis(frames)
        return self.weights.log() - 0.5 * (dimension * math.log(2 * math.pi) + log_determinant + distance)

    def _mahalanobis(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Squared Mahalanobis distances ``(frames, K)`` and log determinants, ``(K,)`` or scalar."""
        if self.covariance_type in ("diag", "spherical"):
            variances = self.covariances if self.covariance_type == "diag" else self.covariances[:, None].expand_as(self.means)
            # Σ (x-μ)²/σ² as matrix products. Centring keeps the difference of large squares accurate.
            centre = self.weights @ self.means
            x, means, precisions = frames - centre, self.means - centre, variances.reciprocal()
            distance = x.square() @ precisions.T - 2 * (x @ (means * precisions).T) + (means.square() * precisions).sum(1)
            return distance.clamp_(min=0), variances.log().sum(1)
        factors = torch.linalg.cholesky(self.covariances)
        log_determinant = 2 * factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        if self.covariance_type == "tied":
            whitened = torch.linalg.solve_triangular(factors, frames.T, upper=False).T
            means = torch.linalg.solve_triangular(factors, self.means.T, upper=False).T
            return torch.cdist(whitened, means).square(), log_determinant
        columns = [
            torch.linalg.solve_triangular(factor, (frames - mean).T, upper=False).square().sum(0)
            for factor, mean in zip(factors, self.means)
        ]
        return torch.stack(columns, dim=1), log_determinant

    def score_samples(self, frames: torch.Tensor) -> torch.Tensor:
        """The log-likelihood of each frame in nats, ``(frames,)``; it does not depend on the temperature."""
        return self.log_joint(frames).logsumexp(1)

    def predict_proba(self, frames: torch.Tensor) -> torch.Tensor:
        """Tempered posteriors ``p(k | x) ∝ (w_k N(x | k))^(1/T)``, ``(frames, K)`` float64; at T = 1 they are the responsibilities."""
        return torch.softmax(self.log_joint(frames) / self.temperature, dim=1)

    def predict(self, frames: torch.Tensor) -> torch.Tensor:
        """The most probable component of each frame, ``(frames,)`` int64."""
        return self.log_joint(frames).argmax(1)

    def with_temperature(self, temperature: float) -> GaussianMixture:
        """The same mixture at another temperature."""
        return replace(self, temperature=temperature)

    def save(self, path: PathLike) -> None:
        """Write the mixture as safetensors, atomically, with a checksum."""
        tensors = {"weights": self.weights, "means": self.means, "covariances": self.covariances}
        if self.transform is not None:
            tensors.update({"transform.mean": self.transform.mean, "transform.matrix": self.transform.matrix})
        described = {"covariance_type": self.covariance_type, "temperature": self.temperature, "metadata": dict(self.metadata)}
        if self.transitions is not None:  # without them, the file is what it was before there were any
            described[_OF_TRANSITIONS] = as_stored(self.transitions)
            if isinstance(self.transitions, FullTransitions):
                tensors[_OF_TRANSITIONS] = self.transitions.matrix
        save_described(path, MIXTURE_FORMAT, tensors, described)

    @staticmethod
    def is_mixture(path: PathLike) -> bool:
        """Whether a file is marked as a mixture in its metadata."""
        try:
            with safe_open(str(path), framework="pt") as stored:
                return MIXTURE_FORMAT in (stored.metadata() or {})
        except (OSError, SafetensorError):
            return False

    @classmethod
    def load(cls, path: PathLike) -> GaussianMixture:
        """Read a mixture that :meth:`save` wrote.

        Raises:
            SoftHubertError: the file is missing, truncated, altered, or not a mixture.
        """
        if not Path(path).exists():
            raise SoftHubertError(f"{path}: no such mixture; fit one with 'softhubert gmm learn'")
        with blaming(path, "truncated or damaged mixture", _AGAIN):
            try:
                tensors, described = load_described(path, MIXTURE_FORMAT, _FIELDS, (_OF_TRANSITIONS,))
            except KeyError:
                raise SoftHubertError(f"{path}: a safetensors file, but not a mixture; fit one with 'softhubert gmm learn'") from None
            transform = None
            if "transform.mean" in tensors:
                transform = FeatureTransform(tensors["transform.mean"], tensors["transform.matrix"])
            try:
                if _OF_TRANSITIONS in tensors or _OF_TRANSITIONS in described:
                    described[_OF_TRANSITIONS] = from_stored(described.get(_OF_TRANSITIONS), tensors.get(_OF_TRANSITIONS))
                mixture = cls(tensors["weights"], tensors["means"], tensors["covariances"], transform=transform, **described)
            except SoftHubertError as error:
                raise SoftHubertError(f"{path}: {error}; {_AGAIN}") from None
            mixture._check_densities()
        return mixture

    def _check_densities(self) -> None:
        """Check that weights and densities are possible, in case a file without a checksum was altered.

        Raises:
            ValueError: they are not.
        """
        if not bool((self.weights >= 0).all()) or abs(float(self.weights.sum()) - 1) > 1e-3:
            raise ValueError("its weights are not shares that sum to one")
        if self.covariance_type in ("diag", "spherical"):
            definite = bool((self.covariances > 0).all())
        else:
            definite = not bool(torch.linalg.cholesky_ex(self.covariances).info.any())
        if not definite:
            raise ValueError("its covariances are not positive definite")

    @classmethod
    def from_sklearn(cls, fitted: sklearn.mixture.GaussianMixture, **changes: Any) -> GaussianMixture:
        """Convert a fitted scikit-learn mixture; ``changes`` sets further attributes, such as ``transform``."""
        return cls(
            weights=torch.as_tensor(fitted.weights_, dtype=torch.float64),
            means=torch.as_tensor(fitted.means_, dtype=torch.float64),
            covariances=torch.as_tensor(fitted.covariances_, dtype=torch.float64),
            covariance_type=fitted.covariance_type,
            **changes,
        )

    def to_sklearn(self) -> sklearn.mixture.GaussianMixture:
        """Convert the mixture to a fitted scikit-learn object.

        Raises:
            SoftHubertError: the mixture has a transform, transitions, or a temperature other than 1, which scikit-learn cannot express.
        """
        from sklearn.mixture import GaussianMixture as SklearnMixture
        from sklearn.mixture._gaussian_mixture import _compute_precision_cholesky

        if self.transform is not None or self.temperature != 1.0 or self.transitions is not None:
            raise SoftHubertError(
                "scikit-learn mixtures have neither a feature transform nor a temperature nor transitions; remove them first"
            )
        fitted = SklearnMixture(n_components=self.n_components, covariance_type=self.covariance_type)
        fitted.weights_, fitted.means_, fitted.covariances_ = self.weights.numpy(), self.means.numpy(), self.covariances.numpy()
        fitted.precisions_cholesky_ = _compute_precision_cholesky(fitted.covariances_, self.covariance_type)
        return fitted
