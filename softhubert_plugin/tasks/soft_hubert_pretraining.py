"""The task ``soft_hubert_pretraining``: fairseq's HuBERT task with soft labels, early checks, and checkpoints of plain types.

It pretrains on ``.gmm`` or ``.km`` labels, trains ``distil_hubert`` without labels (``labels: []``), and fine-tunes fairseq's own
``hubert_ctc`` on letters (``fine_tuning: true``). A fine-tuned checkpoint holds its letters and the shape of its encoder, so it needs
neither the labels nor the pretraining checkpoint again.
"""

# Do not postpone annotations here: omegaconf 2.0 inspects these types at run time.
import logging
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, List, Optional

import torch
from fairseq.data import Dictionary
from fairseq.models import MODEL_REGISTRY
from fairseq.tasks import register_task, setup_task
from fairseq.tasks.hubert_pretraining import HubertPretrainingTask
from omegaconf import open_dict

from softhubert_plugin.allocation import keep_freed_memory
from softhubert_plugin.audio.check import check_audio, check_long_enough
from softhubert_plugin.data.masking import SpanMasking
from softhubert_plugin.data.once_per_machine import once_per_machine
from softhubert_plugin.data.soft_hubert_dataset import HUBERT_RECEPTIVE_FIELD, SoftHubertDataset
from softhubert_plugin.data.transcripts import check_transcript_lengths, hold_transcripts, kept_utterances
from softhubert_plugin.errors import SoftHubertError, refuse_in_one_line
from softhubert_plugin.front_end import ConvLayer, parse_conv_feature_layers, receptive_field, total_stride
from softhubert_plugin.labels.frame_labels import FrameLabels
from softhubert_plugin.labels.opening import open_labels
from softhubert_plugin.labels.verify import verify_labels
from softhubert_plugin.manifests import Manifest, read_dictionary, read_lines, read_manifest
from softhubert_plugin.models.distil_hubert import DistilHubertModel
from softhubert_plugin.models.freezing import Freezing, keep_frozen
from softhubert_plugin.models.kernels import training_kernels
from softhubert_plugin.models.soft_hubert import SoftHubertModel
from softhubert_plugin.models.starting_point import start_from
from softhubert_plugin.models.teacher import Teacher
from softhubert_plugin.ranges import check_ranges
from softhubert_plugin.settings import SoftHubertPretrainingConfig, complete_shape
from softhubert_plugin.tasks.batch_size import check_batch, check_longest
from softhubert_plugin.tasks.encoder_check import check_encoder, check_there, relative_hint
from softhubert_plugin.tasks.objective import check_objective
from softhubert_plugin.tasks.precision import asked_of_trainer, check_precision
from softhubert_plugin.tasks.schedule import warn_of_short_training

logger = logging.getLogger(__name__)


@register_task("soft_hubert_pretraining", dataclass=SoftHubertPretrainingConfig)
class SoftHubertPretrainingTask(HubertPretrainingTask):
    """Masked prediction of soft frame labels, or CTC fine-tuning of a pretrained model."""

    cfg: SoftHubertPretrainingConfig

    def __init__(self, cfg: SoftHubertPretrainingConfig) -> None:
        super().__init__(cfg)
        self._codewords: Optional[List[int]] = None
        self._clusterings: Dict[str, List[str]] = {}  # what the labels come from, as a checkpoint keeps it
        self._restored = False
        self._label_sources: Dict[str, FrameLabels] = {}
        self._masking = SpanMasking()
        self._front_end: List[ConvLayer] = []
        self._kernels: Callable[[], ContextManager[None]] = nullcontext

    @property
    def codewords(self) -> Optional[List[int]]:
        """Number of components of each label set; ``None`` if a fine-tuned model is restored, which needs no labels.

        Raises:
            SystemExit: the training labels are not usable.
        """
        # A restored checkpoint records these numbers. Do not open its labels: they may be gone, or other labels may be in their place.
        if self._codewords is None and not self._restored and not self.cfg.fine_tuning and Path(self.get_label_dir()).exists():
            split = self.cfg.train_subset.split(",")[0]
            with refuse_in_one_line():
                opened = [open_labels(self.get_label_dir(), split, label) for label in self.cfg.labels]
            self._codewords = [each.n_components for each in opened]
            self._clusterings = {"label_sources": [each.source for each in opened]}
            if all(each.made_with for each in opened):  # hard labels, whose source is no more than their dictionary
                self._clusterings["label_mixtures"] = [each.made_with for each in opened]
        return self._codewords

    def load_dictionaries(self) -> Any:
        """Read the letters of ``dict.{label}.txt`` for fine-tuning; pretraining has no dictionary."""
        if not self.cfg.fine_tuning:
            return []
        with refuse_in_one_line():
            if not self.cfg.labels:
                raise SoftHubertError("task.labels is empty, but fine-tuning needs transcripts; set 'task.labels=[ltr]'")
            return _dictionary(read_dictionary(f"{self.get_label_dir()}/dict.{self.cfg.labels[0]}.txt"))

    def state_dict(self) -> Dict[str, Any]:
        """The part of the task that a checkpoint keeps: only numbers and strings."""
        if self.cfg.fine_tuning:
            return {"target_symbols": self.target_dictionary.symbols[self.target_dictionary.nspecial :]}
        codewords = self.codewords  # opens the labels
        return {"codewords": codewords, **self._clusterings}

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Restore :meth:`state_dict`, or the state of a stock HuBERT checkpoint, whose dictionaries give the number of codewords."""
        self._restored = bool(state_dict)
        if "codewords" in state_dict:
            self._codewords = state_dict["codewords"]
            self._clusterings = {name: list(state_dict[name]) for name in ("label_sources", "label_mixtures") if name in state_dict}
        elif "dictionaries" in state_dict:
            self._codewords = [len(dictionary) for dictionary in state_dict["dictionaries"]]
        if self.cfg.fine_tuning and "target_symbols" in state_dict:
            self.state.merge_state_dict({"target_dictionary": _dictionary(state_dict["target_symbols"])})
        elif self.cfg.fine_tuning and "target_dictionary" in state_dict:
            self.state.merge_state_dict({"target_dictionary": state_dict["target_dictionary"]})

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build the model. If it will train on a CPU, also choose the memory settings and the kernels that suit it there."""
        trains_on_cpu = not from_checkpoint and (asked_of_trainer(self.cfg, "cpu") or not torch.cuda.is_available())
        if not from_checkpoint:
            with refuse_in_one_line():
                self._check_names(cfg)
                self._check_ranges()
                check_precision(self.cfg, cfg)
                whole = self.cfg._get_parent()
                check_objective(cfg, whole and whole.get("criterion"))
            warn_of_short_training(whole)
        if trains_on_cpu and self.cfg.keep_memory:
            keep_freed_memory()
        fine_tuned = getattr(cfg, "w2v_path", None) is not None
        model = self._build_fine_tuned(cfg, from_checkpoint) if fine_tuned else self._build_pretrained(cfg, from_checkpoint)
        if trains_on_cpu and not isinstance(model, DistilHubertModel):  # a teacher's convolutions are wide
            self._kernels = training_kernels(model, bfloat16=bool(getattr(cfg, "autocast_bf16", False)))
        return model

    def _check_names(self, cfg: Any) -> None:
        """Check the model's name and the folder of the manifests, about which fairseq's own errors do not name the cause."""
        name = getattr(cfg, "_name", None)
        if name is not None and name not in MODEL_REGISTRY:
            raise SoftHubertError(
                f"model._name={name}: no such model; give soft_hubert, distil_hubert, hubert or, to fine-tune, hubert_ctc"
            )
        data = str(self.cfg.data)
        if not Path(data).is_dir():
            raise SoftHubertError(f"task.data={data}: no such folder{relative_hint(data)}; give the folder of the manifests {{split}}.tsv")

    def _check_ranges(self) -> None:
        """Check the numbers of the task, and those of the trainer where the whole configuration is known."""
        check_ranges("task", self.cfg)
        whole = self.cfg._get_parent()
        for section in ("optimization", "optimizer"):
            check_ranges(section, whole and whole.get(section))

    def _build_pretrained(self, cfg: Any, from_checkpoint: bool) -> Any:
        teacher = None if from_checkpoint else self._teacher(cfg)
        self._settle_normalize(cfg, teacher)
        model = super().build_model(cfg, from_checkpoint)
        if isinstance(model, SoftHubertModel):
            self._prepare_pretraining(model, cfg, from_checkpoint, teacher)
        return model

    def _build_fine_tuned(self, cfg: Any, from_checkpoint: bool) -> Any:
        """Build a model that records its encoder's configuration, so that it can be rebuilt from its checkpoint alone."""
        with refuse_in_one_line():
            check_ranges("model", cfg)
            check_encoder(cfg, sample_rate=self.cfg.sample_rate)
        model = super().build_model(cfg, from_checkpoint)
        pretrained = model.cfg.w2v_args
        self._front_end = parse_conv_feature_layers(pretrained.model.conv_feature_layers)
        with open_dict(pretrained), open_dict(cfg):
            if not isinstance(model.w2v_encoder.w2v_model, SoftHubertModel):
                pretrained.task._name, pretrained.model._name = "soft_hubert_pretraining", "soft_hubert"
                model.w2v_encoder.w2v_model = self._ours(model.w2v_encoder.w2v_model, pretrained)
            cfg.w2v_args = pretrained
        return model

    def _ours(self, stock: Any, pretrained: Any) -> SoftHubertModel:
        """Make a ``soft_hubert`` of a stock encoder: the same network and weights. It is faster, and is rebuilt without dictionaries."""
        task = setup_task(pretrained.task)
        task.load_state_dict(self.state_dict())
        encoder: SoftHubertModel = task.build_model(pretrained.model, from_checkpoint=True)
        encoder.remove_pretraining_modules()
        names = encoder.state_dict()
        encoder.load_state_dict({name: weight for name, weight in stock.state_dict().items() if name in names}, strict=True)
        return encoder

    def _teacher(self, cfg: Any) -> Optional[Teacher]:
        """Open the teacher of a ``distil_hubert`` and record its shape in the configuration, so that a checkpoint needs no teacher."""
        if getattr(cfg, "_name", None) != "distil_hubert":
            return None
        with refuse_in_one_line():
            if cfg.teacher is None:
                raise SoftHubertError("model.teacher is not set; give the checkpoint of the model to distil")
            check_there("model.teacher", cfg.teacher)
            teacher = Teacher(cfg.teacher, cfg.predicted_layers)
        complete_shape(cfg, teacher.cfg)
        with open_dict(cfg):
            cfg.teacher_embed_dim = teacher.width
        return teacher

    def _settle_normalize(self, cfg: Any, teacher: Optional[Teacher]) -> None:
        """If ``task.normalize`` is left open, set it here and in the configuration around ``cfg``, which the checkpoint keeps."""
        if self.cfg.normalize is None:
            self.cfg.normalize = teacher is not None and teacher.normalize
            whole = cfg._get_parent()
            if whole is not None and "task" in whole:
                whole.task.normalize = self.cfg.normalize

    def _prepare_pretraining(self, model: SoftHubertModel, cfg: Any, from_checkpoint: bool, teacher: Optional[Teacher]) -> None:
        """Give the datasets what they need to know about the model; give a new model its weights, frozen parts and teacher."""
        self._masking = SpanMasking.from_model(cfg)
        self._front_end = parse_conv_feature_layers(cfg.conv_feature_layers)
        if from_checkpoint:
            return
        with refuse_in_one_line():
            check_batch(
                self.cfg.batch_seconds,
                world_size=self.cfg.world_size,
                update_freq=self.cfg.update_freq or [1],
                max_tokens=self.cfg.max_tokens,
                sample_rate=self.cfg.sample_rate,
            )
            if isinstance(model, DistilHubertModel) and teacher is not None:
                model.learn_from(teacher, normalize=bool(self.cfg.normalize))
            elif not self.cfg.labels:
                raise SoftHubertError("task.labels is empty, but only distil_hubert trains without labels; set 'task.labels=[gmm]'")
            # A student starts from its teacher's first layers, unless init_from says otherwise ('' for a student of another width).
            start = cfg.teacher if cfg.init_from is None and teacher is not None else cfg.init_from
            if start:
                check_there("model.init_from", start)
                for line in start_from(model, start, settings=cfg, normalize=bool(self.cfg.normalize)).lines():
                    logger.info("%s: %s", start, line)
            model.freeze(Freezing(cfg.freeze_feature_extractor, cfg.freeze_layers, cfg.freeze_updates))

    def train_step(self, *args: Any, **kwargs: Any) -> Any:
        """Run fairseq's forward and backward pass with the kernels that suit the model."""
        with self._kernels():
            return super().train_step(*args, **kwargs)

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """Run fairseq's optimizer step, but keep weight decay away from temporarily frozen parts.

        Raises:
            SystemExit: the optimizer cannot leave a part of its weights unchanged.
        """
        with refuse_in_one_line():
            keep_frozen(model, optimizer)
        super().optimizer_step(optimizer, model, update_num)

    def load_dataset(self, split: str, **kwargs: Any) -> None:
        """Check a split (manifest, audio files, labels) and open it.

        Raises:
            SystemExit: something does not fit; one line on stderr says what (status 2).
        """
        with refuse_in_one_line():
            manifest = read_manifest(f"{self.cfg.data}/{split}.tsv")
            if self.cfg.check_audio:
                once_per_machine(lambda: check_audio(manifest, sample_rate=self.cfg.sample_rate))
            if not self.cfg.fine_tuning:
                self.datasets[split] = self._frame_label_dataset(split, manifest)
            else:
                transcripts = [self._transcripts(split, label, manifest) for label in self.cfg.labels]
                kept = kept_utterances(manifest, shortest=self.cfg.min_sample_size, longest=self.cfg.max_keep_size)
                self._check_frames(split, manifest, transcripts, kept)
                super().load_dataset(split, **kwargs)
                hold_transcripts(self.datasets[split], manifest, transcripts, kept)
            whole = self.cfg._get_parent()
            check_longest(manifest, self.datasets[split], split=split, settings=whole and whole.get("dataset"))

    def _check_frames(self, split: str, manifest: Manifest, transcripts: List[List[str]], kept: List[int]) -> None:
        """Check that the model, once it is built, makes frames enough of each utterance.

        Raises:
            SoftHubertError: it makes none of one, or fewer than the transcript has symbols of most.
        """
        if not self._front_end:
            return
        needed, stride = receptive_field(self._front_end), total_stride(self._front_end)
        check_long_enough(manifest, kept, needed)
        longest = self.cfg.max_sample_size or sys.maxsize  # fairseq crops to it
        frames = [(min(int(manifest.sizes[index]), longest) - needed) // stride + 1 for index in kept]
        for label, lines in zip(self.cfg.labels, transcripts):
            check_transcript_lengths(f"{self.get_label_dir()}/{split}.{label}", lines, kept, frames)

    def _transcripts(self, split: str, label: str, manifest: Manifest) -> List[str]:
        """Read the transcripts of a split.

        Raises:
            SoftHubertError: they do not fit the manifest or the dictionary, or one is empty.
        """
        symbols = set(self.target_dictionary.symbols)
        path = f"{self.get_label_dir()}/{split}.{label}"
        lines = read_lines(path, expected=len(manifest), of=manifest.path)
        for number, line in enumerate(lines, start=1):
            unknown = sorted(set(line.split()) - symbols)
            if unknown or not line.strip():
                what = f"symbols {' '.join(unknown)} that are not in the dictionary" if unknown else "an empty transcript"
                raise SoftHubertError(f"{path}, line {number}: {what}; write the transcripts and the dictionary again, together")
        return lines

    def _frame_label_dataset(self, split: str, manifest: Manifest) -> SoftHubertDataset:
        labels = [open_labels(self.get_label_dir(), split, label) for label in self.cfg.labels]
        rates = self._rates()
        for name, opened, rate in zip(self.cfg.labels, labels, rates):
            verify_labels(opened, manifest, rate, sample_rate=self.cfg.sample_rate)
            first = self._label_sources.setdefault(name, opened)
            if not opened.same_clusters(first):
                found, expected = (each.made_with or each.source for each in (opened, first))
                raise SoftHubertError(
                    f"{opened.path}: the labels come from another clustering ({opened.n_components} components, {found[:12]}) "
                    f"than {first.path} ({first.n_components}, {expected[:12]}); label all splits with one mixture, "
                    "and make the same control of all of them, or of none"
                )
        return SoftHubertDataset(
            manifest,
            labels,
            label_rates=rates,
            frame_rate=self.cfg.frame_rate,
            label_pooling=str(self.cfg.label_pooling),
            sample_rate=self.cfg.sample_rate,
            masking=self._masking,
            receptive_field=receptive_field(self._front_end) if self._front_end else HUBERT_RECEPTIVE_FIELD,
            min_keep_size=self.cfg.min_sample_size,
            max_keep_size=self.cfg.max_keep_size,
            max_sample_size=self.cfg.max_sample_size,
            pad_audio=bool(self.cfg.pad_audio),
            random_crop=bool(self.cfg.random_crop),
            normalize=bool(self.cfg.normalize),
            seed=self.cfg.seed,
        )

    def _rates(self) -> List[float]:
        """Label frames per second of each label set."""
        if self.cfg.label_rates is None:
            return [self.cfg.label_rate] * len(self.cfg.labels)
        rates, labels = list(self.cfg.label_rates), list(self.cfg.labels)
        if len(rates) != len(labels):
            raise SoftHubertError(f"task.label_rates={rates}, but there are {len(labels)} label sets {labels}; give one rate per label set")
        return rates


def _dictionary(symbols: List[str]) -> Dictionary:
    dictionary = Dictionary()
    for symbol in symbols:
        dictionary.add_symbol(symbol)
    return dictionary
