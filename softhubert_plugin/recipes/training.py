"""The stages that train models and measure them: pretraining, probing, fine-tuning, decoding, and the report."""

from __future__ import annotations

import re
from pathlib import Path
from typing import List, Optional, Sequence

from softhubert_plugin.configurations import configuration_folder, configured
from softhubert_plugin.recipes.stages import Command, Stage
from softhubert_plugin.recipes.study import Road, Study, Training
from softhubert_plugin.recipes.systems import System

_COUNTED = (
    *("dataset.validate_after_updates", "lr_scheduler.warmup_updates", "lr_scheduler.warmup_steps", "lr_scheduler.decay_steps"),
    "model.freeze_finetune_updates",
)


def pretrain(road: Road, system: System, iteration: int) -> Stage:
    """Pretrain a model on its labels. A distilled student learns from the baseline's model of the first iteration instead."""
    study, training = road.study, road.study.training
    options: List[str] = []
    if system.kind == "distil":
        made = [road.pretrained(study.systems[0], 1)]
        config = "distilhubert_tiny" if training.tiny else "distilhubert_base_librispeech"
        options += [f"model.teacher={made[0]}"]
    else:
        labels = road.labels(system, iteration)
        made = [f"{labels}/{split}.{system.label}" for split in (study.train, study.validation)]
        config = _pretraining_config(training, system, iteration)
        options += [f"task.label_dir={labels}", f"task.labels=[{system.label}]"]
        options += ["model.encoder_layers=2"] if system.small and "distil_size" not in config else []
        options += ["task.label_rate=50"] if iteration > 1 or system.is_derived else []
        options += [f"task.label_pooling={system.pooling}"] if system.pooling else []
        options += [f"+run={training.run}"] if training.run else []
    options += ["task.pad_audio=false"] if training.tiny and training.crop else []
    options += [f"dataset.train_subset={study.train}"]
    updates = training.updates[min(iteration, len(training.updates)) - 1]
    gpus = 1 if system.kind == "distil" else _setting(f"pretrain/run/{training.run}", "distributed_world_size", 1)
    checkpoint = road.pretrained(system, iteration)
    return _train(road, road.name("pretrain", system, iteration), f"pretrain/{config}", checkpoint, options, updates, made, gpus)


def _pretraining_config(training: Training, system: System, iteration: int) -> str:
    if training.tiny:
        return "soft_hubert_tiny"
    name = "soft_hubert" if system.label == "gmm" else "hubert_km"
    if system.small and iteration == 1:
        return f"{name}_distil_size_librispeech"
    return f"{name}_base_librispeech" + ("_iter2" if iteration > 1 else "")


def fine_tune(road: Road, name: str, pretrained: str, checkpoint: str, updates: Optional[int]) -> Stage:
    """Fine-tune a checkpoint with CTC."""
    study, training = road.study, road.study.training
    config = f"finetune/{training.finetune}"
    options = [f"task.label_dir={study.data}", f"model.w2v_path={pretrained}"]
    if training.max_tokens:
        options.append(f"dataset.max_tokens={training.max_tokens}")
        if training.max_tokens > _setting(config, "max_tokens_valid", 0):
            options.append(f"dataset.max_tokens_valid={training.max_tokens}")
    options += [f"dataset.train_subset={study.train}"] if training.finetune_on_train else []
    gpus = _setting(config, "distributed_world_size", 1)
    return _train(road, name, config, checkpoint, options, updates, [pretrained], gpus)


def _train(
    road: Road, name: str, config: str, checkpoint: str, options: Sequence[str], updates: Optional[int], made: Sequence[str], gpus: int
) -> Stage:
    study, training, dest = road.study, road.study.training, str(Path(checkpoint).parents[1])
    file = configuration_folder() / config
    length = [] if updates is None else [f"optimization.max_update={updates}"]
    length += [] if updates is None or training.tiny else _in_proportion(config, updates)
    more = [f"dataset.valid_subset={study.validation}", f"common.seed={road.seed}", f"hydra.run.dir={dest}", *length]
    named = ("--config-dir", str(file.parent), "--config-name", file.name)
    command = ("fairseq-hydra-train", *named, *map(_override, (f"task.data={study.data}", *options, *more)))
    return Stage(
        name,
        (command,) if training.continues else (("rm", "-rf", dest), command),
        inputs=(*study.listed, *made),
        outputs=(checkpoint,),
        continues=training.continues,
        gpus=0 if training.tiny else gpus,
        threads=training.threads,
    )


def _override(text: str) -> str:
    """Quote the value of an override that hydra's grammar does not take as it is: a folder may be called ``exp (copy)`` or ``Müller``."""
    key, _, value = text.partition("=")
    if re.fullmatch(r"[A-Za-z0-9_./-]*|\[\w+\]", value):
        return text
    return "{}='{}'".format(key, value.replace("'", r"\'"))


def _in_proportion(config: str, updates: int) -> List[str]:
    """What a configuration counts in updates, in proportion to their number: else a short training would end in its warm-up, or frozen."""
    whole = _setting(config, "max_update", updates)
    counts = [(name, _setting(config, name.partition(".")[2], 0)) for name in _COUNTED]
    return [f"{name}={count * updates // whole}" for name, count in counts if count]


def _setting(config: str, name: str, default: int) -> int:
    """A whole number that a configuration sets, or its default."""
    value = configured(config, name)
    return int(value) if value is not None and value.isdecimal() else default


def probe(road: Road, system: System, iteration: int, alignments: str, made: Sequence[str]) -> Stage:
    """Probe the layers of an iteration's model on phones, and measure its labels against them.

    Args:
        alignments: folder of the alignments.
        made: what a stage makes of them.
    """
    study, dest, checkpoint = road.study, road.results(system, iteration), road.pretrained(system, iteration)
    phones = ("--alignments", alignments, *(("--partial-alignments",) if study.partial_alignments else ()))
    options = (*study.share, "--seed", str(road.seed), *study.on_device)
    command = ("softhubert", "probe", *study.probing, "1", "--checkpoint", checkpoint, *phones, "--dest", dest, *options)
    commands, inputs, outputs = [command], [*made, checkpoint], [f"{dest}/layers.json"]
    if system.clusterer:
        labels, rate = road.label_file(system, iteration), "50" if iteration > 1 or system.is_derived else "100"
        manifest = ("--manifest", f"{study.data}/{study.train}.tsv")
        options = (*manifest, *phones, "--label-rate", rate, "--dest")
        commands.append(("softhubert", "labels", "quality", labels, *options, f"{dest}/quality.json"))
        inputs, outputs = [*inputs, labels], [*outputs, f"{dest}/quality.json"]
        if road.seed == study.seeds[0]:  # one seed tells where targets are unsure
            commands.append(("softhubert", "labels", "uncertainty", labels, *options, f"{dest}/uncertainty"))
            outputs.append(f"{dest}/uncertainty/uncertainty.json")
    reads = (*([] if made else [alignments]), *([] if study.made else ["/".join(study.probing) + ".tsv"]))
    name, threads = road.name("probe", system, iteration), study.training.threads
    return Stage(name, tuple(commands), tuple(inputs), tuple(outputs), reads, gpus=1, threads=threads)


def decode(road: Road, system: System) -> Stage:
    """Decode and score the test splits, with a language model too if there is one."""
    study, folder, checkpoint = road.study, road.system(system), road.finetuned(system)
    lm, tuned = f"{study.exp}/lm", ("--tuned", f"{folder}/tuned.json")
    search = ("--lm", f"{lm}/lm.arpa", "--lexicon", f"{lm}/lexicon.txt", "--beam", str(study.beam))
    commands: List[Command] = []
    if study.beam:
        tune_on = study.validation if study.tune_on_part else study.valid
        commands.append(("softhubert", "tune", study.data, tune_on, checkpoint, tuned[1], *search, *study.on_device))
    scores = []
    for test in study.tests:
        greedy, searched = f"{folder}/decode/{test}", f"{folder}/decode/{test}-lm"
        where = (searched, *search, *tuned, "--greedy", greedy) if study.beam else (greedy,)  # the audio is scored once
        commands.append(("softhubert", "decode", study.data, test, checkpoint, *where, *study.on_device))
        manifest = ("--manifest", f"{study.data}/{test}.tsv") if study.by_speaker else ()
        for dest in (greedy, searched)[: 1 + bool(study.beam)]:
            scores.append(f"{folder}/scores/{Path(dest).name}.json")
            commands.append(("softhubert", "score", f"{dest}/hypo.word", f"{dest}/ref.word", *manifest, "--dest", scores[-1]))
    models = (f"{lm}/lm.arpa",) if study.beam else ()
    extra = "lm" if study.beam else ""
    return Stage(road.name("decode", system), tuple(commands), (*study.listed, checkpoint, *models), tuple(scores), gpus=1, extra=extra)


def save(road: Road, system: System, measured: Sequence[Stage]) -> List[Stage]:
    """Save a finished run, if runs are to be saved.

    Args:
        measured: the stages whose outputs are saved.
    """
    study, file = road.study, road.saved(system)
    command = ("softhubert", "recipe", "describe", study.exp, *study.told, "--system", road.system(system), "--save", file)
    inputs = tuple(output for stage in measured for output in stage.outputs)
    return [Stage(road.name("save", system), (command,), inputs, (file,))] if file else []


def report(study: Study, measured: Sequence[Stage]) -> Stage:
    """Describe each seed of each system, and report all, the baseline first.

    Args:
        measured: the stages whose outputs the report reads, other than saved runs of before.
    """
    runs = [(road, system) for system in study.systems for road in study.roads]
    describe = ("softhubert", "recipe", "describe", study.exp, *study.told)
    inputs = tuple(output for stage in measured for output in stage.outputs)
    reads = tuple(road.saved(system) for road, system in runs if study.results and road.saved(system) not in inputs)
    folders = [road.saved(system) or road.system(system) for road, system in runs]
    pairs = tuple(word for first, second in study.compare for word in ("--compare", first.title, second.title))
    reported = ("softhubert", "report", *folders, "--dest", f"{study.exp}/report", *pairs)
    return Stage("report", (reported,) if study.results else (describe, reported), inputs, (f"{study.exp}/report/index.html",), reads)
