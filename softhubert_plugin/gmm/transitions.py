"""How components follow each other in time: the transitions of a hidden Markov model whose states are the components of a mixture.

With them, a frame's posterior depends on the whole utterance (:mod:`~softhubert_plugin.gmm.forward_backward`). The notation follows Rabiner
(1989), "A tutorial on hidden Markov models", https://doi.org/10.1109/5.18626: ``a_ij`` is the probability that component j follows
component i.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Dict, Mapping, Optional, Union

import torch

from softhubert_plugin.errors import SoftHubertError

# A full matrix of more components could neither be estimated nor used in reasonable time.
MOST_LINKED = 2_000
# A stored row may miss one by the rounding of whoever wrote it.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class StickyTransitions:
    """A component goes on with probability ``stay``; otherwise the next one is drawn anew: ``a_ij = stay [i = j] + (1 - stay) π_j``.

    ``π`` are the mixture's weights, tempered as its posteriors are. With ``stay = 0`` frames do not depend on each other.

    Attributes:
        stay: in [0, 1).
    """

    stay: float
    kind: ClassVar[str] = "sticky"

    def __post_init__(self) -> None:
        if not isinstance(self.stay, (int, float)) or isinstance(self.stay, bool) or not 0 <= self.stay < 1:
            raise SoftHubertError(f"the probability to stay in a component is {self.stay!r}, expected a number from 0 to below 1")

    @property
    def described(self) -> str:
        """The transitions in words."""
        return f"sticky, stay {self.stay:.3f}"


@dataclass(frozen=True)
class FullTransitions:
    """Any component may follow any other with a probability of its own.

    Attributes:
        matrix: ``(K, K)`` float64; row i holds ``a_ij`` for all j and sums to one.
    """

    matrix: torch.Tensor
    kind: ClassVar[str] = "full"

    def __post_init__(self) -> None:
        shape = tuple(self.matrix.shape)
        if len(shape) != 2 or shape[0] != shape[1]:
            raise SoftHubertError(f"transitions must be a matrix (K, K), found {shape}")
        check_size(shape[0])
        if self.matrix.dtype != torch.float64 or not bool(torch.isfinite(self.matrix).all()):
            raise SoftHubertError(f"transitions must be finite float64 numbers, found {self.matrix.dtype}, or NaN or infinity")
        off = (self.matrix.sum(1) - 1).abs()
        if bool((self.matrix < 0).any()) or float(off.max()) > _ROUNDING:
            row = int((off + (self.matrix < 0).any(1)).argmax())
            raise SoftHubertError(
                f"each row of transitions must be probabilities that sum to one, but row {row} sums to {float(self.matrix[row].sum()):.6g} "
                f"and its smallest value is {float(self.matrix[row].min()):.3g}"
            )

    @property
    def described(self) -> str:
        """The transitions in words."""
        return f"a matrix, mean probability to stay {float(self.matrix.diagonal().mean()):.3f}"


Transitions = Union[StickyTransitions, FullTransitions]


def check_size(n_components: int) -> None:
    """Check that a full matrix is possible for this many components.

    Raises:
        SoftHubertError: it is not.
    """
    if n_components > MOST_LINKED:
        raise SoftHubertError(
            f"a full matrix of transitions for {n_components} components: the maximum is {MOST_LINKED}; use sticky transitions"
        )


def as_stored(transitions: Transitions) -> Dict[str, Any]:
    """The description of transitions in a mixture's file, as JSON values; the matrix is a tensor beside it."""
    return {"kind": "sticky", "stay": transitions.stay} if isinstance(transitions, StickyTransitions) else {"kind": "full"}


def from_stored(description: Any, matrix: Optional[torch.Tensor]) -> Transitions:
    """The transitions that :func:`as_stored` described.

    Args:
        matrix: the tensor, if the file has one.

    Raises:
        SoftHubertError: they are not possible.
        ValueError: the description is damaged, or does not fit the tensor.
    """
    if (
        isinstance(description, Mapping)
        and description.get("kind") == "sticky"
        and description.keys() == {"kind", "stay"}
        and matrix is None
    ):
        return StickyTransitions(description["stay"])
    if description == {"kind": "full"} and matrix is not None:
        return FullTransitions(matrix)
    raise ValueError(f"its transitions are described as {str(description)[:60]!r}, with{'out' if matrix is None else ''} a matrix")
