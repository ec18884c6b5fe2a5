"""What a recipe compares: systems, each a way to make targets and a size of model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Tuple

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.text_files import read_lines_of

# The kinds of targets: title, what makes them (k-means, a mixture, k-means as a mixture), and the control made from soft labels.
_KINDS: Dict[str, Tuple[str, str, str]] = {
    "km": ("hard k-means", "km", ""),
    "km-soft": ("soft k-means", "km-soft", ""),
    "gmm": ("soft GMM", "gmm", ""),
    "gmm-argmax": ("hard GMM (argmax)", "gmm", "hard"),
    "gmm-smooth": ("GMM argmax, smoothed", "gmm", "smooth"),
    "gmm-shuffle": ("soft GMM, shuffled", "gmm", "shuffle"),
    "distil": ("distilled student", "", ""),
}


@dataclass(frozen=True)
class System:
    """A system.

    Attributes:
        kind: kind of its targets; ``distil`` has none, because its student learns from the first other system.
        perplexity: mean perplexity that soft targets are calibrated to.
        markov: ``sticky`` or ``full`` if the mixture hears a frame's neighbours.
        pooling: how soft labels are reduced to the model's rate, if not by their mean: ``pick``.
        small: whether the model has DistilHuBERT's size.
    """

    kind: str
    perplexity: float = 4.0
    markov: str = ""
    pooling: str = ""
    small: bool = False

    @property
    def softness(self) -> str:
        """What tells the names of clusterers apart: a perplexity other than 4, and what hears the neighbours."""
        softness = f"-p{self.perplexity:g}" if self.clusterer in ("gmm", "km-soft") and self.perplexity != 4 else ""
        return softness + (f"-{self.markov}" if self.markov else "")

    @property
    def targets(self) -> str:
        """The name of its targets, which several models may share."""
        return self.kind + self.softness

    @property
    def name(self) -> str:
        """Its name, for folders and stages."""
        return "-".join([self.targets, *([self.pooling] if self.pooling else []), *(["small"] if self.small else [])])

    @property
    def title(self) -> str:
        """Its name, for tables."""
        perplexity = f"perplexity {self.perplexity:g}" if self.softness.startswith("-p") else ""
        markov = f"Markov ({self.markov})" if self.markov else ""
        pooling = "first of two frames" if self.pooling else ""
        return ", ".join(filter(None, (_KINDS[self.kind][0], markov, perplexity, pooling, "small model" if self.small else "")))

    @property
    def clusterer(self) -> str:
        """What clusters: ``km``, ``gmm``, ``km-soft``, or nothing."""
        return _KINDS[self.kind][1]

    @property
    def control(self) -> str:
        """The control that its labels are: ``hard``, ``smooth``, ``shuffle``, or nothing."""
        return _KINDS[self.kind][2]

    @property
    def is_derived(self) -> bool:
        """Whether its labels are made from soft labels, at 50 per second."""
        return self.control in ("smooth", "shuffle")

    @property
    def label(self) -> str:
        """Ending of its label files."""
        return "km" if self.kind == "km" or self.control == "hard" else "gmm"


def parse_systems(text: str, perplexity: float = 4.0) -> List[System]:
    """Read systems.

    Args:
        text: ``km gmm gmm,perplexity=8 gmm,size=small``, separated by spaces; or ``@FILE`` with one system a line and ``#`` comments.
        perplexity: of systems that do not name theirs.

    Raises:
        SoftHubertError: a system or a setting is not known, there is none, or one occurs twice.
    """
    if text.startswith("@"):
        if not Path(text[1:]).is_file():
            raise SoftHubertError(f"--systems {text}: no such file; give a file with one system a line")
        words = [word for line in read_lines_of(text[1:]) for word in line.partition("#")[0].replace(", ", ",").split()]
    else:
        words = text.split()
    systems = [parse_system(word, perplexity) for word in words]
    names = [system.name for system in systems]
    if not systems or len(set(names)) < len(names) or systems[0].kind == "distil":
        raise SoftHubertError(f"--systems {text!r}: expected systems, each once, first one with targets: {', '.join(_KINDS)}")
    return systems


def parse_system(word: str, perplexity: float = 4.0) -> System:
    """Read one system: ``gmm,perplexity=8``.

    Args:
        perplexity: of a system that does not name its own.

    Raises:
        SoftHubertError: the system or a setting is not known.
    """
    kind, *settings = word.split(",")
    if kind not in _KINDS:
        raise SoftHubertError(f"--systems: '{kind}' is none of {', '.join(_KINDS)}")
    chosen: Dict[str, Any] = {"perplexity": perplexity}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key == "perplexity" and value.replace(".", "", 1).isdecimal() and float(value) > 1:
            chosen[key] = float(value)
        elif key == "size" and value in ("full", "small"):
            chosen["small"] = value == "small"
        elif key == "markov" and value in ("sticky", "full") and _KINDS[kind][1] == "gmm":
            chosen[key] = value
        elif key == "pooling" and value in ("mean", "pick") and kind in ("gmm", "km-soft"):
            chosen[key] = "pick" * (value == "pick")
        else:
            raise SoftHubertError(
                f"--systems {word}: expected perplexity=NUMBER (above 1), size=small, markov=sticky or markov=full (of mixtures), or "
                f"pooling=pick (of soft labels), found '{setting}'"
            )
    return System(kind, **chosen)
