"""One experiment, as its folder tells it.

::

    experiment.json                      name, and whatever settings tell it from the others
    labels.json                          what 'softhubert labels inspect' printed of the training labels
    pretrain/hydra_train.log             fairseq's log with common.log_format=json
    finetune/hydra_train.log
    score.json                           of 'softhubert score --dest'
    timings.tsv                          stage and seconds, tab-separated, in order

Only ``experiment.json`` must be there; what is missing is shown as missing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, read_json

Record = Dict[str, float]
_LOGGED = re.compile(r"\]\[(train_inner|valid)\]\[INFO\] - (\{.*\})\s*$")


@dataclass(frozen=True)
class TrainingLog:
    """What a fairseq run logged, one record for each number of updates, in order; keys without fairseq's ``valid_`` prefix."""

    train: List[Record]
    valid: List[Record]

    @property
    def updates(self) -> Optional[int]:
        """Updates done, as far as the log tells."""
        counts = [int(record["num_updates"]) for record in (*self.train[-1:], *self.valid[-1:])]
        return max(counts) if counts else None

    def best(self, metric: str) -> Optional[Record]:
        """The validation record with the lowest value of a metric: that of ``checkpoint_best.pt``."""
        having = [record for record in self.valid if metric in record]
        return min(having, key=lambda record: record[metric]) if having else None


@dataclass(frozen=True)
class Experiment:
    """What is known of one experiment.

    Attributes:
        settings: of ``experiment.json``, without the name.
        stages: names and seconds.
    """

    folder: Path
    name: str
    settings: Dict[str, Any]
    labels: Dict[str, Any]
    pretraining: TrainingLog
    finetuning: TrainingLog
    score: Optional[Dict[str, Any]]
    stages: List[Tuple[str, float]]

    @property
    def seconds(self) -> Optional[float]:
        """Time of all stages."""
        return sum(seconds for _, seconds in self.stages) if self.stages else None

    @property
    def target_perplexity(self) -> Optional[float]:
        """Mean perplexity of the targets, as the label file records it."""
        value = self.labels.get("perplexity")
        return None if value is None else float(value)

    @property
    def masked_accuracy(self) -> Optional[float]:
        """Accuracy at masked validation frames against the most probable component, at the checkpoint that was kept."""
        best = self.pretraining.best("loss")
        return None if best is None else best.get("accuracy_masked")


def read_experiment(folder: PathLike) -> Experiment:
    """Read an experiment's folder.

    Raises:
        SoftHubertError: ``experiment.json`` is missing, or a file cannot be read.
    """
    folder = Path(folder)
    settings = dict(_object(folder / "experiment.json", 'an experiment folder needs experiment.json, at least {"name": "..."}'))
    labels, score = folder / "labels.json", folder / "score.json"
    return Experiment(
        folder=folder,
        name=str(settings.pop("name", folder.name)),
        settings=settings,
        labels=_object(labels, "write it with 'softhubert labels inspect'") if labels.exists() else {},
        pretraining=read_log(folder / "pretrain" / "hydra_train.log"),
        finetuning=read_log(folder / "finetune" / "hydra_train.log"),
        score=_object(score, "write it with 'softhubert score --dest'") if score.exists() else None,
        stages=_read_stages(folder / "timings.tsv"),
    )


def read_log(path: PathLike) -> TrainingLog:
    """Read fairseq's JSON log; where a run was taken up again, its later record of an update counts. A missing log is empty."""
    found: Dict[str, Dict[int, Record]] = {"train_inner": {}, "valid": {}}
    if Path(path).exists():
        with open(path, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                match = _LOGGED.search(line)
                if match is None:
                    continue
                try:
                    values = json.loads(match.group(2))
                except ValueError:
                    continue  # the last line of a run that was killed
                record = {key[6:] if key.startswith("valid_") else key: _number(value) for key, value in values.items()}
                numbers = {key: value for key, value in record.items() if value is not None}
                if "num_updates" in numbers:
                    found[match.group(1)][int(numbers["num_updates"])] = numbers
    train, valid = ([records[update] for update in sorted(records)] for records in found.values())
    return TrainingLog(train, valid)


def _object(path: Path, remedy: str) -> Dict[str, Any]:
    value = read_json(path, remedy=remedy)
    if not isinstance(value, dict):
        raise SoftHubertError(f"{path}: expected a JSON object; {remedy}")
    return value


def _number(value: Any) -> Optional[float]:
    """fairseq logs numbers as strings."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _read_stages(path: Path) -> List[Tuple[str, float]]:
    if not path.exists():
        return []
    stages = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        name, tab, seconds = line.partition("\t")
        value = _number(seconds)
        if not tab or value is None:
            raise SoftHubertError(f"{path}, line {number}: expected a stage, a tab and seconds, found {line[:60]!r}")
        stages.append((name, value))
    return stages
