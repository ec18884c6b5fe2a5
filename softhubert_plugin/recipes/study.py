"""The settings of a study, and where each of its seeds keeps its files.

Everything that does not depend on the seed lies in the experiment's folder, and what depends on the first seed too. Another seed N has the
folder ``seedN`` and stages that end in ``-seedN``. So seeds can be added to an experiment later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

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

    @property
    def threads(self) -> int:
        """Threads of a stage that learns: one if the model is tiny, whatever runs beside it, so that its numbers do not depend on that.

        Two runs of a thread each are faster than one after the other with two.
        """
        return 1 if self.tiny else 0


@dataclass(frozen=True)
class Study:
    """The settings of a study.

    Attributes:
        exp: folder of the experiment.
        data: folder of the manifests.
        train, valid, tests: names of the splits.
        seeds: the seeds; the first is that of the corpus, if the recipe makes it.
        systems: the systems, the baseline first.
        clusters: number of clusters or components, for each iteration: the second one's targets are made from a layer of the first model.
        training: how models are trained.
        made: whether a stage makes the manifests.
        keep: whether features of all of the speech stay on disk, and labels are made from them.
        valid_utterances: at most so many utterances are used for validation during training; 0 for all.
        percent: share of the training speech that clusterers are fitted on, 0 to 1; 0 for all.
        layers_dtype: number format of the hidden states that clusterers are fitted on.
        alignments: phone alignments, to measure labels and probe models; empty for none.
        partial_alignments: whether any share of the utterances may be without alignment.
        probed: folder and split that models are probed on; empty for the training split.
        beam: hypotheses kept in the search with a trigram of the training text; 0 for no language model.
        tune_on_part: whether the language model is tuned on the part of ``valid`` that is for training, instead of on all of it.
        by_speaker: whether intervals are over speakers; of a handful, they would be as wide as can be.
        device: of everything but training; empty for a GPU if there is one.
        nshard: shards of features and labels.
        facts: ``key=value`` that the settings do not say: what the speech is.
        compare: pairs of systems that the report compares; empty to compare each with the baseline.
        results: folder that finished runs are saved in, one file each; those that are there are not run again. Empty for none.
    """

    exp: str
    data: str
    train: str
    valid: str
    tests: Tuple[str, ...]
    seeds: Tuple[int, ...]
    systems: Tuple[System, ...]
    clusters: Tuple[int, ...]
    training: Training
    made: bool = False
    keep: bool = False
    valid_utterances: int = 0
    percent: float = 0
    layers_dtype: str = "float16"
    alignments: str = ""
    partial_alignments: bool = False
    probed: Tuple[str, str] = ("", "")
    beam: int = 0
    tune_on_part: bool = False
    by_speaker: bool = True
    device: str = ""
    nshard: int = 1
    facts: Tuple[str, ...] = ()
    compare: Tuple[Tuple[System, System], ...] = ()
    results: str = ""

    @property
    def told(self) -> Tuple[str, ...]:
        """``key=value`` of what decides the outcome of a run, for the report, and to tell saved runs of other settings."""
        training = self.training
        rest = {
            "pretraining updates": _each(training.updates),
            "fine-tuning updates": _each([training.finetune_updates]),
            "clusters": _each(self.clusters),
            "iterations": str(len(self.clusters)),
            "fine-tuning": training.finetune + (f", batches of {training.max_tokens} samples" if training.max_tokens else ""),
            "validation": f"{self.valid}, {self.valid_utterances or 'all'} utterances",
            "tests": " ".join(self.tests),
            "search": f"trigram, beam {self.beam}" if self.beam else "greedy",
            "clusterers fitted on": f"a share of {self.percent:g}" if self.percent else "all",
            **({"pretraining run": training.run} if training.run else {}),
        }
        return (*self.facts, *(f"{key}={value}" for key, value in rest.items()))

    @property
    def validation(self) -> str:
        """The split for validation during training: a part of ``valid``, unless a stage makes that split and all of it is used."""
        return self.valid if self.made and not self.valid_utterances else f"{self.valid}-{self.valid_utterances or 'all'}"

    @property
    def manifests(self) -> Tuple[str, ...]:
        """The manifests that stages make, other than that of the validation part."""
        return tuple(f"{self.data}/{split}.tsv" for split in (self.train, self.valid, *self.tests)) if self.made else ()

    @property
    def listed(self) -> Tuple[str, ...]:
        """All manifests that stages make."""
        return tuple(dict.fromkeys((*self.manifests, f"{self.data}/{self.validation}.tsv")))

    @property
    def roads(self) -> List[Road]:
        """One road for each seed."""
        return [Road(self, seed) for seed in self.seeds]

    @property
    def share(self) -> Tuple[str, ...]:
        """``--percent`` for a command; nothing for all utterances."""
        return ("--percent", f"{self.percent:g}") if self.percent else ()

    @property
    def on_device(self) -> Tuple[str, ...]:
        """``--device`` for a command, if it was chosen."""
        return ("--device", self.device) if self.device else ()

    @property
    def experiments(self) -> List[Dict[str, Any]]:
        """What the report is told about each seed of each system: its folder, labels and manifest, and what ``experiment.json`` says."""
        return [
            {
                "folder": road.system(system),
                "labels": road.label_file(system, self.iterations(system)) if system.clusterer else "",
                "manifest": f"{self.data}/{self.train}.tsv",
                "about": {"name": system.title, "system": system.title, "target": system.kind, "seed": road.seed},
            }
            for system in self.systems
            for road in self.roads
        ]

    @property
    def probing(self) -> Tuple[str, str]:
        """Folder and split that models are probed on."""
        return self.probed if self.probed[0] else (self.data, self.train)

    def iterations(self, system: System) -> int:
        """The iterations of a system. A distilled student has one."""
        return 1 if system.kind == "distil" else len(self.clusters)


def _each(values: Sequence[Optional[int]]) -> str:
    """The numbers of the iterations, or one where all are the same."""
    return " + ".join(dict.fromkeys(str(value or "as configured") for value in values))


@dataclass(frozen=True)
class Road:
    """One seed of a study: the names of its stages and files.

    Attributes:
        study: the settings.
        seed: the seed of clustering, initialisation, masks and order.
    """

    study: Study
    seed: int

    @property
    def folder(self) -> str:
        """The folder of this seed."""
        return self.study.exp if self.seed == self.study.seeds[0] else f"{self.study.exp}/seed{self.seed}"

    def name(self, stage: str, system: Optional[System] = None, iteration: int = 1) -> str:
        """The name of a stage of this seed, of a system and an iteration."""
        own = ([system.name] if system else []) + ([str(iteration)] if iteration > 1 else [])
        return "-".join([stage, *own] + ([] if self.seed == self.study.seeds[0] else [f"seed{self.seed}"]))

    def system(self, system: System) -> str:
        """The folder of a system."""
        return f"{self.folder}/systems/{system.name}"

    def base(self, system: System, iteration: int) -> str:
        """The folder of clusterers and labels: systems have those of the first iteration in common."""
        return self.folder if iteration == 1 else f"{self.system(system)}/iteration{iteration}"

    def labels(self, system: System, iteration: int) -> str:
        """The folder of a system's labels."""
        return f"{self.base(system, iteration)}/labels/{system.targets}"

    def label_file(self, system: System, iteration: int) -> str:
        """A system's labels of the training split."""
        return f"{self.labels(system, iteration)}/{self.study.train}.{system.label}"

    def results(self, system: System, iteration: int) -> str:
        """The folder of what is measured of an iteration: for the last one, the system's, where the report looks."""
        return self.system(system) if iteration == self.study.iterations(system) else f"{self.system(system)}/iteration{iteration}"

    def saved(self, system: System) -> str:
        """The file that a finished run is saved in; empty if none is."""
        return f"{self.study.results}/{system.name}-seed{self.seed}.json" if self.study.results else ""

    def finetuned(self, system: System) -> str:
        """The best checkpoint of fine-tuning, by the word error rate of the validation split."""
        return f"{self.system(system)}/finetune/checkpoints/checkpoint_best.pt"

    def pretrained(self, system: System, iteration: int = 0) -> str:
        """The last checkpoint of an iteration of pretraining; 0 for the last iteration.

        Not the best one: systems that predict different targets would be compared after different lengths of training.
        """
        iteration = iteration or self.study.iterations(system)
        return f"{self.system(system)}/pretrain{iteration if iteration > 1 else ''}/checkpoints/checkpoint_last.pt"
