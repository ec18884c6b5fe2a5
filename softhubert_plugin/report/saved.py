"""An experiment in one small file, which the report reads as it reads the folder: results that are kept when the folder is gone.

The file has what tables, comparisons and curves need: no checkpoints, no configuration, no commands, no log of single updates. Where there
are several speakers, errors are summed for each of them: intervals over speakers and seeds need no more. Seconds are in ``stages`` alone,
and there are no folders, so that the same run made elsewhere on a like machine differs in ``stages`` only.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, write_json
from softhubert_plugin.report.contents import FileContent
from softhubert_plugin.report.experiment import Experiment, TrainingLog, read_experiment
from softhubert_plugin.scoring.pairs import summed_by_speaker
from softhubert_plugin.text_files import read_json

_KIND = "softhubert experiment"
_REMEDY = "save the experiment again with 'softhubert recipe describe --save'"


def save_experiment(folder: PathLike, path: PathLike) -> None:
    """Save an experiment.

    Args:
        folder: its folder.
        path: the file to write.

    Raises:
        SoftHubertError: the folder is not an experiment.
    """
    experiment = read_experiment(folder)
    scores = {name: {**score, "per_utterance": summed_by_speaker(score["per_utterance"])} for name, score in experiment.scores.items()}
    logs = {name: [_without("wps", record) for record in getattr(experiment, name).valid] for name in ("pretraining", "finetuning")}
    kept = {key: value for key, value in asdict(experiment).items() if key in ("name", "settings", "labels", "quality", "layers", "stages")}
    for name, key in (("labels", "file"), ("quality", "labels"), ("layers", "features")):  # where they were
        kept[name] = _without(key, kept[name])
    write_json(path, {"kind": _KIND, **kept, "scores": scores, **logs})


def load_experiment(path: PathLike) -> Experiment:
    """Read an experiment from a folder, or from a file of :func:`save_experiment`.

    Raises:
        SoftHubertError: it is neither, or damaged.
    """
    path = Path(path)
    if path.is_dir() or path.suffix != ".json":
        return read_experiment(path)
    value = read_json(path, remedy=_REMEDY)
    if not isinstance(value, dict) or value.get("kind") != _KIND:
        raise SoftHubertError(f"{path}: not an experiment; give a folder, or a file of 'softhubert recipe describe --save'")
    try:
        experiment = Experiment(
            folder=path,
            configuration={},
            commands="",
            pretraining=TrainingLog([], value["pretraining"]),
            finetuning=TrainingLog([], value["finetuning"]),
            stages=[(str(name), float(seconds)) for name, seconds in value["stages"]],
            **{key: kept for key, kept in value.items() if key not in ("kind", "pretraining", "finetuning", "stages")},
        )
        FileContent(path, value, _REMEDY).check_run()
        FileContent(path, experiment.labels, _REMEDY).check_description()
        FileContent(path, experiment.quality, _REMEDY).check_quality()
        FileContent(path, experiment.layers, _REMEDY).check_layers()
        for score in experiment.scores.values():
            FileContent(path, score, _REMEDY).check_score()
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise SoftHubertError(f"{path}: damaged ({error}); {_REMEDY}") from None
    return experiment


def _without(left_out: str, value: Dict[str, Any]) -> Dict[str, Any]:
    return {key: kept for key, kept in value.items() if key != left_out}
