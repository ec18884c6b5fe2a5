"""The stages that recipes have in common, from features to scores, for one seed.

Everything that does not depend on the seed lies in the experiment's folder, and what depends on the first seed too. Another seed N has the
folder ``seedN`` and stages that end in ``-seedN``. So seeds can be added to an experiment later.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from softhubert_plugin.configurations import configuration_folder
from softhubert_plugin.recipes.stages import Command, Stage
from softhubert_plugin.recipes.systems import System


@dataclass(frozen=True)
class Training:
    """How models are trained.

    Attributes:
        tiny: whether it is the tiny configuration, on the CPU; otherwise HuBERT Base as published, on GPUs.
        updates: of each iteration of pretraining; ``None`` for what the configuration says.
        finetune_updates: of fine-tuning, likewise.
        finetune: configuration of fine-tuning.
        finetune_on_train: whether to fine-tune on the training split, instead of on what the configuration says.
        run: how Base is pretrained, a file of ``config/pretrain/run``.
        max_tokens: samples in a batch of fine-tuning; ``None`` for what the configuration says.
        crop: whether the tiny configuration crops long utterances, as HuBERT's own recipe does, instead of padding short ones.
        continues: whether training goes on where it was interrupted, instead of starting from nothing.
    """

    tiny: bool
    updates: Tuple[Optional[int], ...]
    finetune_updates: Optional[int]
    finetune: str = "soft_hubert_tiny"
    finetune_on_train: bool = True
    run: str = ""
    max_tokens: Optional[int] = None
    crop: bool = False
    continues: bool = False


@dataclass(frozen=True)
class Road:
    """One seed of an experiment.

    Attributes:
        exp: the experiment's folder.
        data: folder of the manifests.
        made: the manifests, if a stage makes them.
        train, valid: names of the splits; ``valid`` is for validation during training.
        tests: names of the splits to decode.
        seed: the seed of clustering, initialisation, masks and order.
        first: whether this is the experiment's first seed.
        training: how models are trained.
        device: of everything but training; empty for a GPU if there is one.
        nshard: shards of features and labels.
        by_speaker: whether intervals are over speakers; of a handful, they would be as wide as can be.
    """

    exp: str
    data: str
    made: Tuple[str, ...]
    train: str
    valid: str
    tests: Tuple[str, ...]
    seed: int
    first: bool
    training: Training
    device: str = ""
    nshard: int = 1
    by_speaker: bool = True

    @property
    def folder(self) -> str:
        """The folder of this seed."""
        return self.exp if self.first else f"{self.exp}/seed{self.seed}"

    def name(self, stage: str) -> str:
        """The name of a stage of this seed."""
        return stage if self.first else f"{stage}-seed{self.seed}"

    def system(self, system: System) -> str:
        """The folder of a system."""
        return f"{self.folder}/systems/{system.name}"

    def checkpoint(self, system: System, run: str) -> str:
        """The best checkpoint of a training of a system."""
        return f"{self.system(system)}/{run}/checkpoints/checkpoint_best.pt"

    def on_device(self) -> Tuple[str, ...]:
        """``--device`` for a command, if it was chosen."""
        return ("--device", self.device) if self.device else ()


def pretrain(
    road: Road, system: System, labels: str, made: Sequence[str], *, iteration: int = 1, run: str = "pretrain", teacher: str = ""
) -> Stage:
    """Pretrain a model on labels, or distil one from a teacher.

    Args:
        labels: folder of the labels.
        made: what the stages before make of it.
        iteration: 1 for labels of MFCCs, 2 for labels of hidden states.
        run: name of the run's folder.
        teacher: checkpoint of the teacher of a distilled student.
    """
    training, dest = road.training, f"{road.system(system)}/{run}"
    rate = 100 if iteration == 1 and not system.is_derived else 50
    options: List[str] = []
    if system.kind == "distil":
        config = "distilhubert_tiny" if training.tiny else "distilhubert_base_librispeech"
        options += [f"model.teacher={teacher}"]
    else:
        config = _pretraining_config(training, system, iteration)
        options += [f"task.label_dir={labels}", f"task.labels=[{system.label}]"]
        options += ["model.encoder_layers=2"] if system.small and "distil_size" not in config else []
        options += [f"task.label_rate={rate}"] if rate == 50 else []
        options += [f"+run={training.run}"] if training.run else []
    options += ["task.pad_audio=false"] if training.tiny and training.crop else []
    options += [f"dataset.train_subset={road.train}"]
    updates = training.updates[min(iteration, len(training.updates)) - 1]
    return _train(
        road, f"{run}-{system.name}", "pretrain", config, dest, options, updates, made, gpus=1 if system.kind == "distil" else None
    )


def _pretraining_config(training: Training, system: System, iteration: int) -> str:
    if training.tiny:
        return "soft_hubert_tiny"
    name = "soft_hubert" if system.label == "gmm" else "hubert_km"
    if system.small and iteration == 1:
        return f"{name}_distil_size_librispeech"
    return f"{name}_base_librispeech" + ("_iter2" if iteration > 1 else "")


def fine_tune(road: Road, name: str, checkpoint: str, dest: str, updates: Optional[int]) -> Stage:
    """Fine-tune a checkpoint with CTC."""
    training = road.training
    options = [f"task.label_dir={road.data}", f"model.w2v_path={checkpoint}"]
    options += [f"dataset.max_tokens={training.max_tokens}"] if training.max_tokens else []
    options += [f"dataset.train_subset={road.train}"] if training.finetune_on_train else []
    return _train(road, name, "finetune", training.finetune, dest, options, updates, [checkpoint])


def _train(
    road: Road,
    name: str,
    kind: str,
    config: str,
    dest: str,
    options: Sequence[str],
    updates: Optional[int],
    made: Sequence[str],
    *,
    gpus: Optional[int] = None,
) -> Stage:
    configs = configuration_folder() / kind
    continues = road.training.continues
    command = ["fairseq-hydra-train", "--config-dir", str(configs), "--config-name", config, f"task.data={road.data}", *options]
    command += [
        f"dataset.valid_subset={road.valid}",
        f"common.seed={road.seed}",
        f"hydra.run.dir={dest}",
        *([] if updates is None else [f"optimization.max_update={updates}"]),
    ]
    if road.training.tiny:
        gpus = 0
    elif gpus is None:
        file = configs / "run" / f"{road.training.run}.yaml" if kind == "pretrain" else configs / f"{config}.yaml"
        gpus = _world_size(file)
    return Stage(
        road.name(name),
        (tuple(command),) if continues else (("rm", "-rf", dest), tuple(command)),
        inputs=(*road.made, *made),
        outputs=(f"{dest}/checkpoints/checkpoint_best.pt",),
        continues=continues,
        gpus=gpus,
        threads=1 if road.training.tiny else 0,  # two runs at a thread each are faster than one after the other with two
    )


def _world_size(config: Path) -> int:
    """The GPUs that a configuration trains on; 1 if it does not say. Read without hydra, so that a dry run needs nothing installed."""
    found = re.search(r"^  distributed_world_size: *([0-9]+)", config.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return int(found.group(1)) if found else 1


def decode(road: Road, system: System, *, lm: str = "", beam: int = 0, tune_on: str = "") -> Stage:
    """Decode and score the test splits, with a language model too if there is one.

    Args:
        lm: folder of the language model and its lexicon.
        beam: hypotheses kept in the search.
        tune_on: the split to tune the language model's weight on.
    """
    folder, checkpoint = road.system(system), road.checkpoint(system, "finetune")
    search: Tuple[str, ...] = ("--lm", f"{lm}/lm.arpa", "--lexicon", f"{lm}/lexicon.txt", "--beam", str(beam)) if lm else ()
    commands: List[Command] = []
    if lm:
        commands.append(("softhubert", "tune", road.data, tune_on, checkpoint, f"{folder}/tuned.json", *search, *road.on_device()))
    scores = []
    for test in road.tests:
        for name, options in ((test, ()), (f"{test}-lm", (*search, "--tuned", f"{folder}/tuned.json"))):
            if options and not lm:
                continue
            dest = f"{folder}/decode/{name}"
            commands.append(("softhubert", "decode", road.data, test, checkpoint, dest, *options, *road.on_device()))
            scores.append(f"{folder}/scores/{name}.json")
            manifest = ("--manifest", f"{road.data}/{test}.tsv") if road.by_speaker else ()
            commands.append(("softhubert", "score", f"{dest}/hypo.word", f"{dest}/ref.word", *manifest, "--dest", scores[-1]))
    models = (f"{lm}/lm.arpa",) if lm else ()
    return Stage(road.name(f"decode-{system.name}"), tuple(commands), (*road.made, checkpoint, *models), tuple(scores), gpus=1)


def report(roads: Sequence[Road], systems: Sequence[System], facts: Sequence[str], labels: str, more: Sequence[str] = ()) -> Stage:
    """Describe each seed of each system and report all, the baseline first.

    Args:
        facts: ``key=value`` of all experiments.
        labels: folder of a system's labels below its seed's folder, with ``{0}`` for the system and ``{1}`` for its targets.
        more: further files that the report reads.
    """
    commands: List[Command] = []
    folders, inputs = [], list(more)
    for system in systems:
        for road in roads:
            folder = road.system(system)
            about = (f"name={system.title}", f"system={system.title}", f"target={system.kind}", f"seed={road.seed}", *facts)
            file = f"{road.folder}/{labels.format(system.name, system.targets)}/{road.train}.{system.label}"
            commands.append(("softhubert", "recipe", "describe", road.exp, folder, file, f"{road.data}/{road.train}.tsv", *about))
            folders.append(folder)
            inputs += [f"{folder}/scores/{test}.json" for test in road.tests]
    exp = roads[0].exp
    commands.append(("softhubert", "report", *folders, "--dest", f"{exp}/report"))
    return Stage("report", tuple(commands), tuple(inputs), (f"{exp}/report/index.html",))
