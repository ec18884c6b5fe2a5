"""Group experiments into systems, and pair the systems. The experiments of a system differ in their seed only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.report.experiment import Experiment

UNKNOWN_SEED = "unknown"  # the seed of an experiment that does not say it
_WHOLE = re.compile(r"-?[0-9]{1,20}")


@dataclass(frozen=True)
class SystemRuns:
    """A system and its runs.

    Attributes:
        name: name of the system.
        runs: its experiments by seed, in the order of the seeds.
    """

    name: str
    runs: Dict[str, Experiment]

    @property
    def title(self) -> str:
        """The name of the only run, otherwise of the system."""
        return next(iter(self.runs.values())).name if len(self.runs) == 1 else self.name


SystemPair = Tuple[SystemRuns, SystemRuns]


def group_by_system(experiments: Sequence[Experiment]) -> List[SystemRuns]:
    """Group experiments by their system, in order of first appearance.

    Raises:
        SoftHubertError: two experiments of a system have the same seed, or one of several does not say its seed.
    """
    runs: Dict[str, List[Experiment]] = {}
    for experiment in experiments:
        runs.setdefault(experiment.system, []).append(experiment)
    return [SystemRuns(name, _by_seed(name, of_system)) for name, of_system in runs.items()]


def pairs_to_compare(systems: Sequence[SystemRuns], asked_for: Sequence[Sequence[str]]) -> List[SystemPair]:
    """Find the systems of the pairs that were asked for; without any, pair every system with the first one.

    Args:
        systems: the systems, the baseline first.
        asked_for: names of the first and of the second system of each pair: of a system, or of a system's only run.

    Raises:
        SoftHubertError: there is no such system, or a pair is not one of two systems, or was asked for twice.
    """
    if not asked_for:
        return [(systems[0], system) for system in systems[1:]]
    only = {run.name: system for system in systems if len(system.runs) == 1 for run in system.runs.values()}
    named = {**only, **{system.name: system for system in systems}}
    unknown = list(dict.fromkeys(name for names in asked_for for name in names if name not in named))
    if unknown:
        names = ", ".join(repr(system.name) for system in systems)
        raise SoftHubertError(f"--compare: no system is called {' or '.join(map(repr, unknown))}; choose from {names}")
    pairs: List[SystemPair] = []
    for first, second in asked_for:
        pair = (named[first], named[second])
        if pair[0] is pair[1]:
            raise SoftHubertError(f"--compare {first!r} {second!r}: expected two systems, found one; name another")
        if any({pair[0].name, pair[1].name} == {other.name for other in earlier} for earlier in pairs):
            raise SoftHubertError(f"--compare {first!r} {second!r}: this pair is asked for twice; remove one")
        pairs.append(pair)
    return pairs


def _by_seed(system: str, experiments: Sequence[Experiment]) -> Dict[str, Experiment]:
    found: Dict[str, Experiment] = {}
    for experiment in experiments:
        seed = seed_name(experiment.settings.get("seed"))
        if seed in found:
            same = "no seed" if seed == UNKNOWN_SEED else f"seed {seed}"
            raise SoftHubertError(
                f"{found[seed].folder} and {experiment.folder}: two runs of {system!r} with {same}; give each run its own seed, or each "
                "system its own name, in experiment.json"
            )
        found[seed] = experiment
    if UNKNOWN_SEED in found and len(found) > 1:
        raise SoftHubertError(
            f'{found[UNKNOWN_SEED].folder / "experiment.json"}: expected a seed, because {system!r} has {len(found)} runs; add "seed"'
        )
    return dict(sorted(found.items(), key=lambda item: _order(item[0])))


def seed_name(value: Any) -> str:
    """Name a seed, so that 1, 1.0, "1" and "01" are one seed. A missing seed is :data:`UNKNOWN_SEED`."""
    if value is None:
        return UNKNOWN_SEED
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    return str(int(text)) if _WHOLE.fullmatch(text) else text


def _order(seed: str) -> Tuple[bool, int, str]:
    """Order whole numbers by value, before anything else."""
    whole = _WHOLE.fullmatch(seed) is not None
    return not whole, int(seed) if whole else 0, seed
