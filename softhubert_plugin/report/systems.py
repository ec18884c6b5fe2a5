"""Group experiments into systems. The experiments of a system differ in their seed only."""

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


def group_by_system(experiments: Sequence[Experiment]) -> List[SystemRuns]:
    """Group experiments by their system, in order of first appearance.

    Raises:
        SoftHubertError: two experiments of a system have the same seed, or one of several does not say its seed.
    """
    runs: Dict[str, List[Experiment]] = {}
    for experiment in experiments:
        runs.setdefault(experiment.system, []).append(experiment)
    return [SystemRuns(name, _by_seed(name, of_system)) for name, of_system in runs.items()]


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
