"""Read one experiment from its folder, for the report.

The folder holds these files::

    experiment.json                      name, and the settings that distinguish it from other experiments; experiments with the same
                                         "system" (by default the name) and different "seed" are seeds of one system
    labels.json                          output of 'softhubert labels inspect' for the training labels
    quality.json                         from 'softhubert labels quality --dest'
    layers.json                          from 'softhubert probe'
    uncertainty/uncertainty.json         from 'softhubert labels uncertainty --dest'
    pretrain/hydra_train.log             fairseq's log with common.log_format=json; beside it hydra's own .hydra/config.yaml; pretrain2/ for
                                         a second iteration, which is then the one that is shown
    finetune/hydra_train.log             the same for fine-tuning
    score.json                           from 'softhubert score --dest'; with several test sets, scores/{test set}.json for each
    timings.tsv                          stage and seconds, tab-separated, in order
    commands.txt                         the commands that made the experiment

Only ``experiment.json`` is required. The report shows everything else that is missing as missing.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.report.contents import FileContent
from softhubert_plugin.report.uncertainty_contents import check_uncertainty
from softhubert_plugin.scoring.score import load_score
from softhubert_plugin.text_files import read_json, read_lines_of, read_text_of, read_yaml, reading

LogRecord = Dict[str, float]
_LOGGED = re.compile(r"\]\[([^\[\]]+)\]\[INFO\] - (\{.*\})\s*$")


@dataclass(frozen=True)
class TrainingLog:
    """The log of a fairseq run, one record per logged number of updates, in order.

    Attributes:
        train: records of training.
        valid: records of validation; their keys are without fairseq's prefix, the name of the split.
    """

    train: List[LogRecord]
    valid: List[LogRecord]

    @property
    def updates(self) -> Optional[int]:
        """Number of updates done, according to the log; ``None`` if the log is empty."""
        counts = [int(record["num_updates"]) for record in (*self.train[-1:], *self.valid[-1:])]
        return max(counts) if counts else None


@dataclass(frozen=True)
class Experiment:
    """Everything that an experiment's folder records.

    Attributes:
        folder: the folder.
        name: name of the experiment.
        settings: content of ``experiment.json``, without the name.
        labels: content of ``labels.json``; empty if there is none.
        pretraining: log of pretraining.
        finetuning: log of fine-tuning.
        scores: score of each test set, by the set's name; the name is ``test`` if there is only ``score.json``.
        quality: label quality; empty if it was not measured.
        layers: results of the layer probes; empty if there are none.
        uncertainty: where the targets are unsure; empty if it was not measured.
        configuration: hydra's configurations of both trainings, as dotted names and JSON values.
        stages: name and seconds of each stage.
        commands: content of ``commands.txt``.
    """

    folder: Path
    name: str
    settings: Dict[str, Any]
    labels: Dict[str, Any]
    pretraining: TrainingLog
    finetuning: TrainingLog
    scores: Dict[str, Dict[str, Any]]
    quality: Dict[str, Any]
    layers: Dict[str, Any]
    configuration: Dict[str, str]
    stages: List[Tuple[str, float]]
    commands: str
    uncertainty: Dict[str, Any] = field(default_factory=dict)

    @property
    def system(self) -> str:
        """Name of the system, shared by experiments that differ in the seed only; by default the experiment's own name."""
        return str(self.settings.get("system", self.name))

    @property
    def seconds(self) -> Optional[float]:
        """Total time of all stages, in seconds; ``None`` if no time was recorded."""
        return sum(seconds for _, seconds in self.stages) if self.stages else None

    @property
    def target_perplexity(self) -> Optional[float]:
        """Mean perplexity of the targets, from the label file."""
        value = self.labels.get("perplexity")
        return None if value is None else float(value)

    @property
    def masked_accuracy(self) -> Optional[float]:
        """Accuracy (a fraction) on masked validation frames, against the most probable component, at the end of pretraining."""
        return self.pretraining.valid[-1].get("accuracy_masked") if self.pretraining.valid else None


def read_experiment(folder: PathLike) -> Experiment:
    """Read an experiment's folder.

    Raises:
        SoftHubertError: ``experiment.json`` is missing, or a file cannot be read.
    """
    folder = Path(folder)
    settings = dict(_object(folder / "experiment.json", 'an experiment folder needs experiment.json, at least {"name": "..."}'))
    commands = folder / "commands.txt"
    pretrained = folder / ("pretrain2" if (folder / "pretrain2").is_dir() else "pretrain")
    return Experiment(
        folder=folder,
        name=str(settings.pop("name", folder.name)),
        settings=settings,
        labels=_optional(folder / "labels.json", "write it with 'softhubert labels inspect'", FileContent.check_description),
        pretraining=read_log(pretrained / "hydra_train.log"),
        finetuning=read_log(folder / "finetune" / "hydra_train.log"),
        scores=_read_scores(folder),
        quality=_optional(folder / "quality.json", "write it with 'softhubert labels quality --dest'", FileContent.check_quality),
        layers=_optional(folder / "layers.json", "write it with 'softhubert probe'", FileContent.check_layers),
        configuration={**_read_configuration(pretrained, "pretrain"), **_read_configuration(folder / "finetune", "finetune")},
        stages=_read_stages(folder / "timings.tsv"),
        commands=read_text_of(commands) if commands.exists() else "",
        uncertainty=_optional(
            folder / "uncertainty" / "uncertainty.json", "write it with 'softhubert labels uncertainty'", check_uncertainty
        ),
    )


def read_log(path: PathLike) -> TrainingLog:
    """Read fairseq's JSON log. A missing file gives an empty log.

    If a resumed run logged an update twice, the later record is kept. If several splits are validated on, the first one counts, by which
    fairseq chooses the best checkpoint.
    """
    found: Dict[str, Dict[int, LogRecord]] = {"train_inner": {}}
    if Path(path).exists():
        with reading(path), open(path, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                match = _LOGGED.search(line)
                if match is None:
                    continue
                try:
                    values = json.loads(match.group(2))
                except (ValueError, RecursionError):
                    continue  # the last line of a run that was killed
                name = match.group(1)
                prefix = "" if name == "train_inner" else f"{name}_"
                record = {key[len(prefix) :] if key.startswith(prefix) else key: _number(value) for key, value in values.items()}
                numbers = {key: value for key, value in record.items() if value is not None}
                if f"{prefix}num_updates" in values and "num_updates" in numbers:
                    found.setdefault(name, {})[int(numbers["num_updates"])] = numbers
    train = found.pop("train_inner")
    found.pop("train", None)  # summaries of epochs; what remains are the splits, in order
    valid = next(iter(found.values()), {})
    return TrainingLog(*([records[update] for update in sorted(records)] for records in (train, valid)))


def _optional(path: Path, remedy: str, check: Callable[[FileContent], None]) -> Dict[str, Any]:
    if not path.exists():
        return {}
    value = _object(path, remedy)
    check(FileContent(path, value, remedy))
    return value


def _read_scores(folder: Path) -> Dict[str, Dict[str, Any]]:
    paths = {path.stem: path for path in sorted((folder / "scores").glob("*.json"))} or {"test": folder / "score.json"}
    scores = {name: load_score(path) for name, path in paths.items() if path.exists()}
    for name, score in scores.items():
        FileContent(paths[name], score, "score again with 'softhubert score HYP REF --dest'").check_score()
    return scores


def _read_configuration(run: Path, stage: str) -> Dict[str, str]:
    path = run / ".hydra" / "config.yaml"
    if not path.exists():
        return {}
    return dict(_flatten(read_yaml(path, remedy="remove it or train again"), stage))


def _flatten(value: Any, name: str) -> Iterator[Tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flatten(inner, f"{name}.{key}")
    else:
        yield name, json.dumps(value)


def _object(path: Path, remedy: str) -> Dict[str, Any]:
    value = read_json(path, remedy=remedy)
    if not isinstance(value, dict):
        raise SoftHubertError(f"{path}: expected a JSON object; {remedy}")
    return value


def _number(value: Any) -> Optional[float]:
    """Convert a logged value to a finite number, ``None`` if it is not one. fairseq logs numbers as strings."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _read_stages(path: Path) -> List[Tuple[str, float]]:
    if not path.exists():
        return []
    stages = []
    for number, line in enumerate(read_lines_of(path), start=1):
        name, tab, seconds = line.partition("\t")
        value = _number(seconds)
        if not tab or value is None or value < 0:
            raise SoftHubertError(f"{path}, line {number}: expected a stage, a tab and seconds, found {line[:60]!r}; correct the line")
        stages.append((name, value))
    return stages
