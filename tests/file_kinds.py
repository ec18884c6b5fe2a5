"""Every kind of file that a command reads: how to make a small one, and how a command reads it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, ClassVar, Dict, List, Optional, Tuple

import joblib
import numpy as np
import soundfile
import torch
from sklearn.cluster import MiniBatchKMeans
from test_labels import INFO, random_targets, write

from softhubert_plugin.alignments.utterances import Alignments
from softhubert_plugin.asr.beam import BeamDecoder, BeamSettings, search_settings
from softhubert_plugin.asr.ctc_targets import load_pieces
from softhubert_plugin.asr.tune import read_tuned
from softhubert_plugin.audio.check import check_audio
from softhubert_plugin.audio.read import read_waveform
from softhubert_plugin.checkpoints.load import load_checkpoint, read_checkpoint
from softhubert_plugin.corpora.librispeech_files import read_speakers
from softhubert_plugin.corpora.writing import is_made
from softhubert_plugin.features.layers import chosen_layer
from softhubert_plugin.features.shards import ShardWriter
from softhubert_plugin.gmm.kmeans_file import read_kmeans
from softhubert_plugin.gmm.mixture import FeatureTransform, GaussianMixture
from softhubert_plugin.gmm.sources import from_shard
from softhubert_plugin.gmm.transitions import FullTransitions, StickyTransitions, Transitions
from softhubert_plugin.labels.controls import control_labels
from softhubert_plugin.labels.convert import convert_labels
from softhubert_plugin.labels.hard import HardLabels
from softhubert_plugin.labels.pack import pack_labels
from softhubert_plugin.labels.soft import open_soft_labels
from softhubert_plugin.manifests import read_dictionary, read_lines, read_manifest, write_cluster_dictionary, write_manifest
from softhubert_plugin.report.comparisons import compare_systems
from softhubert_plugin.report.experiment import read_experiment
from softhubert_plugin.report.measures import measures
from softhubert_plugin.report.over_seeds import seed_tables
from softhubert_plugin.report.systems import SystemRuns
from softhubert_plugin.report.table import quality_rows, rows
from softhubert_plugin.scoring.score import compare_scores, score_files

SYMBOLS = ("<s>", "<pad>", "</s>", "<unk>", "|", "A", "B", "C")
NAMES = ("s1-a", "s1-b", "s2-c")
SECONDS = 0.5

TEXT = "it is text or numbers without a checksum, and another value is as possible as the one written"
DATA = "its format has no checksum, so that other numbers are as possible as those written"


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Attributes:
        make: writes one, and what must be beside it, into an empty folder, and returns it.
        read: reads it as a command does; what it gives can be compared after :func:`plain`.
        may_differ: why an altered file may be read as another valid value; empty if it must be refused or read as it was written.
        always_readable: whether no damage makes the file useless.
        remarks: a regular expression of the lines that reading may print on stderr.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    may_differ: str = ""
    always_readable: bool = False
    remarks: str = r"(?!)"


def plain(value: Any) -> Any:
    """A value in a form that ``==`` compares: arrays and tensors as their type, shape and bytes."""
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value if isinstance(value, (str, int, float, bytes, type(None))) else repr(value)


def _text(name: str, content: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(content, encoding="utf-8")
        return folder / name

    return make


def _json(name: str, content: Any) -> Callable[[Path], Path]:
    return _text(name, json.dumps(content, indent=2))


def _lines(path: Path) -> List[str]:
    return read_lines(path, expected=3, of="train.tsv")


def _manifest(path: Path) -> Any:
    manifest = read_manifest(path)
    return str(manifest.root), manifest.names, manifest.sizes


# Features


def _shard(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        rng = np.random.default_rng(0)
        info = {"kind": "mfcc", "frame_rate": 100.0, "manifest_sha256": "0123456789abcdef"}
        with ShardWriter(folder, "train", 0, 1, info) as writer:
            for frames in (5, 12, 9):
                writer.add(rng.standard_normal((frames, 4)).astype(np.float32))
        return folder / f"train_0_1{suffix}"

    return make


def _read_shard(path: Path) -> Any:
    stream = from_shard(path.parent, "train", 0, 1)
    return stream.info, stream.dimension, stream.lengths, [rows for rows, _ in stream.blocks()]


def _dense(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        posteriors = np.random.default_rng(0).dirichlet(np.ones(5), 14).astype(np.float32)
        np.save(folder / "train.npy", posteriors)
        (folder / "train.len").write_text("6\n8\n")
        return folder / f"train{suffix}"

    return make


def _convert(path: Path) -> Any:
    dest = path.parent / "train.gmm"
    convert_labels(path.with_suffix(".npy"), dest, label_rate=50.0)
    return _soft(dest)


# Mixtures and clusterings


_MATRIX = FullTransitions(torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.75, 0.0], [0.0, 0.5, 0.5]], dtype=torch.float64))


def _mixture(covariance_type: str, transform: bool, transitions: Optional[Transitions] = None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        covariances = {"diag": normal(3, 4).exp(), "full": torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)}[covariance_type]
        weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
        described = {"perplexity": 3.5, "features": {"kind": "mfcc"}, "curve": [{"iteration": 1, "train": -3.25}]}
        fitted = FeatureTransform(normal(6), normal(6, 4)) if transform else None
        mixture = GaussianMixture(weights, normal(3, 4), covariances, covariance_type, 2.5, fitted, described, transitions)
        mixture.save(folder / "gmm.safetensors")
        return folder / "gmm.safetensors"

    return make


def _read_mixture(path: Path) -> Any:
    mixture = GaussianMixture.load(path)
    transform = None if mixture.transform is None else vars(mixture.transform)
    transitions = None if mixture.transitions is None else vars(mixture.transitions)
    values = [vars(mixture)[name] for name in ("weights", "means", "covariances", "covariance_type", "temperature", "metadata")]
    return values, transform, transitions


def _kmeans(compress: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        frames = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
        joblib.dump(MiniBatchKMeans(5, n_init=1, random_state=0).fit(frames), folder / "km.joblib", compress=compress)
        return folder / "km.joblib"

    return make


# Labels


def _gmm(packed: bool) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        rng = np.random.default_rng(0)
        write(folder / "plain.gmm", [random_targets(rng, frames, 20) for frames in (7, 1, 12)], n_components=20)
        if not packed:
            return folder / "plain.gmm"
        pack_labels(folder / "plain.gmm", folder / "packed.gmm")
        return folder / "packed.gmm"

    return make


def _smooth(folder: Path) -> Path:
    control_labels(_gmm(packed=False)(folder), folder / "smooth.gmm", kind="smooth")
    return folder / "smooth.gmm"


def _soft(path: Path) -> Any:
    labels = open_soft_labels(path)
    return labels.info, labels.lengths, [labels.stored(index) for index in range(len(labels))]


def _hard(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "train.km").write_text("0 0 3 3 3\n4 4 1 0\n2 2 2\n")
        write_cluster_dictionary(folder, "km", 5)
        return folder / name

    return make


def _read_hard(path: Path) -> Any:
    labels = HardLabels(path.parent / "train.km", path.parent / "dict.km.txt")
    return [vars(labels.utterance(index)) for index in range(len(labels))]


# Checkpoints


def _checkpoint(legacy: bool) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        weights = {"mask_emb": torch.arange(8.0), "encoder.layers.0.fc1.weight": torch.ones(4, 8)}
        cfg = {"task": {"_name": "soft_hubert_pretraining", "normalize": False}, "model": {"_name": "soft_hubert", "encoder_layers": 1}}
        state = {"args": None, "cfg": cfg, "model": weights, "task_state": {"codewords": [4]}, "extra_state": {"epoch": 1}}
        torch.save(state, folder / "checkpoint.pt", _use_new_zipfile_serialization=not legacy)
        return folder / "checkpoint.pt"

    return make


def _build(path: Path) -> Any:
    return load_checkpoint(path).model.state_dict()


class SavedModel:
    """A folder of transformers', fine-tuned or not, made once and copied for each of its files."""

    made: ClassVar[Dict[str, Path]] = {}

    @classmethod
    def file(cls, name: str, *, older: bool = False) -> Callable[[Path], Path]:
        """Copy the folder and return its file ``name``."""

        def make(folder: Path) -> Path:
            source = cls.made["ctc" if name == "vocab.json" else "plain"]
            shutil.copytree(source, folder / "model")
            if older:
                from safetensors.torch import load_file

                torch.save(load_file(str(folder / "model" / "model.safetensors")), folder / "model" / name)
                (folder / "model" / "model.safetensors").unlink()
            return folder / "model" / name

        return make

    @staticmethod
    def read(path: Path) -> Any:
        """Read the folder of a file."""
        state = read_checkpoint(path.parent)
        return state["cfg"]["model"], state["model"], state["task_state"]


# Recognition


LEXICON = "AB\tA B |\nC\tC |\nCAB\tC A B |\n"
_FIT = "softhubert: (note|warning): .* words of .*|The ARPA file is missing <unk>.*"
ARPA = (
    "\\data\\\nngram 1=6\nngram 2=2\n\n"
    "\\1-grams:\n-1.0\t<unk>\t0\n0\t<s>\t-0.3\n-0.6\t</s>\t0\n-0.7\tAB\t-0.2\n-0.8\tC\t-0.2\n-0.9\tCAB\t0\n\n"
    "\\2-grams:\n-0.4\t<s> AB\n-0.5\tAB C\n\n\\end\\\n"
)


def _search(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "lexicon.txt").write_text(LEXICON)
        (folder / "lm.arpa").write_text(ARPA)
        return folder / name

    return make


def _decode(path: Path) -> Any:
    settings = BeamSettings(lm=str(path.parent / "lm.arpa"), lexicon=str(path.parent / "lexicon.txt"), beam=5)
    found = BeamDecoder(settings, SYMBOLS, 0, 2)(torch.randn(6, len(SYMBOLS), generator=torch.Generator().manual_seed(0)))
    return [(each.units, each.words) for each in found]


def _pieces(folder: Path) -> Path:
    import sentencepiece

    with open(folder / "unigram.model", "wb") as stream:
        sentences = iter(["GO ON", "ONE TWO", "GONE"] * 5)
        options = {"vocab_size": 14, "minloglevel": 3, "hard_vocab_limit": False}
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=sentences, model_writer=stream, **options)
    return folder / "unigram.model"


def _scored(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "ref").write_text("ONE TWO (s1-a)\nTHREE (s1-b)\nFOUR FIVE (s2-c)\n")
        (folder / "hyp").write_text("ONE TWO (s1-a)\nTREE (s1-b)\nFOUR (s2-c)\n")
        return folder / name

    return make


def _score(path: Path) -> Any:
    return score_files(path.parent / "hyp", path.parent / "ref").summary()


# Alignments and audio


def _audio(name: str, **options: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        samples = int(16_000 * SECONDS / 10)
        soundfile.write(folder / name, 0.1 * np.random.default_rng(0).standard_normal(samples), 16_000, **options)
        write_manifest(folder / "train.tsv", folder, [(name, samples)])
        return folder / name

    return make


def _hear(path: Path) -> Any:
    manifest = read_manifest(path.parent / "train.tsv")
    check_audio(manifest)
    return read_waveform(manifest, 0, normalize=False)


def _aligned(name: str, content: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write_manifest(folder / "train.tsv", folder, [(f"{utterance}.flac", int(16_000 * SECONDS)) for utterance in NAMES])
        (folder / "alignments").mkdir()
        for utterance in NAMES if "{}" in name else [""]:
            path = folder / "alignments" / name.format(utterance)
            path.write_text(content)
        return path

    return make


def _align(path: Path) -> Any:
    manifest = read_manifest(path.parent.parent / "train.tsv")
    source = path.parent if path.suffix in (".TextGrid", ".lab", ".phn") else path
    alignments = Alignments(source, manifest)
    return alignments.phones, [alignments.frames(index, 50, 100.0) for index in range(3) if alignments.has(index)]


_INTERVALS = ((0.0, 0.1, "sil"), (0.1, 0.25, "AH0"), (0.25, 0.4, "S"), (0.4, 0.5, "T"))
_TEXTGRID = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0 \nxmax = 0.5 \ntiers? <exists> \nsize = 1 \nitem []: \n' + (
    '    item [1]:\n        class = "IntervalTier" \n        name = "phones" \n        xmin = 0 \n        xmax = 0.5 \n'
    "        intervals: size = 4 \n"
) + "".join(
    f'        intervals [{number}]:\n            xmin = {start} \n            xmax = {end} \n            text = "{label}" \n'
    for number, (start, end, label) in enumerate(_INTERVALS, start=1)
)  # fmt: skip
_LAB = "".join(f"{start:.4f} {end:.4f} {label}\n" for start, end, label in _INTERVALS)
_CTM = "".join(f"{name} 1 {start:.2f} {end - start:.2f} {label}\n" for name in NAMES for start, end, label in _INTERVALS)
_FRAMES = "".join(f"{name}\t{','.join(['sil'] * 10 + ['AH0'] * 15 + ['S'] * 15 + ['T'] * 10)}\n" for name in NAMES)


# Reports


_MEASURE = {"value": 0.5, "low": 0.4, "high": 0.6}
_MEASURES = {"phone_purity": _MEASURE, "cluster_purity": _MEASURE, "pnmi": _MEASURE}
_LAYERS = {"layer": 2, "layers": [{"layer": 1, "accuracy": _MEASURE, "pnmi": _MEASURE}], "mfcc": {"accuracy": _MEASURE, "pnmi": _MEASURE}}
_QUANTITIES = {"frames": 8, "entropy": _MEASURE, "confidence": 0.6, "right": _MEASURE}
_DISTANCES = [{"from": 0.0, "to": 0.01, **_QUANTITIES}, {"from": 0.01, "to": None, **_QUANTITIES}]
_READING = {"mutual_information": _MEASURE, "pnmi": _MEASURE}
_UNCERTAINTY = {
    "entropy": {"mean": 1.0, "histogram": {"edges": [0, 0.5, 1], "counts": [3, 5]}},
    "runs": {"mean_frames": 2.0, "counts": [3, 1]},
    "boundary": {"all": _DISTANCES, "speech": _DISTANCES},
    "place": [{"from": 0.0, "to": 1.0, **_QUANTITIES}],
    "classes": [{"class": "vowels", **_QUANTITIES}],
    "phones": [{"phone": "AH", "class": "vowels", **_QUANTITIES, "entropy": 1.0, "right": 0.5}],
    "speakers": {"rows": [{"speaker": "anna", "run_frames": 2.0, **_QUANTITIES, "entropy": 1.0, "right": 0.5}]},
    "reliability": {
        "bins": [{"from": 0.0, "to": 1.0, **_QUANTITIES}],
        **dict.fromkeys(("expected_calibration_error", "confidence", "right"), _MEASURE),
    },
    "information": dict.fromkeys(("argmax", "expected", "posterior"), _READING),
}
_LOG = "".join(
    f'[2026-01-01 00:00:00,000][{kind}][INFO] - {{"{prefix}loss": "{loss}", "{prefix}num_updates": "{update}"}}\n'
    for update, loss in ((10, 2.5), (20, 1.5))
    for kind, prefix in (("train_inner", ""), ("valid", "valid_"))
)
_EXPERIMENT: Dict[str, str] = {
    "experiment.json": json.dumps({"name": "soft", "seed": 1, "hours": 10}),
    "labels.json": json.dumps({"perplexity": 3.5, "entropy_histogram": {"edges": [0, 0.5, 1], "counts": [3, 5]}}),
    "quality.json": json.dumps({"argmax": _MEASURES, "expected": _MEASURES}),
    "layers.json": json.dumps(_LAYERS),
    "uncertainty/uncertainty.json": json.dumps(_UNCERTAINTY),
    "timings.tsv": "corpus\t60\npretrain\t120.5\n",
    "commands.txt": "softhubert features mfcc exp/data train 1 0 exp/mfcc\n",
    "pretrain/hydra_train.log": _LOG,
    "pretrain/.hydra/config.yaml": "common:\n  seed: 1\n  fp16: true\ntask:\n  labels:\n  - gmm\n  data: /exp\n",
}
EXPERIMENT_FILES: Tuple[str, ...] = (*_EXPERIMENT, "score.json")


def experiment(name: str) -> Callable[[Path], Path]:
    """Write an experiment's folder and return its file ``name``."""

    def make(folder: Path) -> Path:
        for each, content in _EXPERIMENT.items():
            (folder / each).parent.mkdir(parents=True, exist_ok=True)
            (folder / each).write_text(content)
        _scored("hyp")(folder)
        score_files(folder / "hyp", folder / "ref").save(folder / "score.json")
        (folder / "hyp").unlink()
        (folder / "ref").unlink()
        return folder / name

    return make


def read_report(path: Path) -> Any:
    """Read the experiment of a file, and what the report shows of it except the figures."""
    folder = next(parent for parent in path.parents if (parent / "experiment.json").exists())
    found = read_experiment(folder)
    compared = [compare_scores(score, score) for score in found.scores.values()]
    systems = [SystemRuns(name, {"1": found, "2": found}) for name in ("first", "second")]
    compared_by = list(measures([found]))
    over_seeds = seed_tables(systems, compared_by, compare_systems([(systems[0], systems[1])], compared_by))
    shown = rows([found]), quality_rows([found]), [(table.record(), table.tables()) for table in over_seeds]
    return vars(found), shown, compared


DECODING = "decoding:\n  type: kenlm\n  lexicon: /exp/lexicon.txt\n  lmpath: /exp/lm.arpa\n  beam: 50\n  lmweight: 2.0\n  wordscore: -1\n"
PARAMETERS = {"utterances": 30, "speakers": 4, "seed": 1}

KINDS: Dict[str, FileKind] = {
    "manifest": FileKind(_text("train.tsv", "/corpus\na/1.flac\t16000\na/2.flac\t32000\nb/3.flac\t8000\n"), _manifest, TEXT),
    "words": FileKind(_text("train.wrd", "GO ON\nONE\nTWO THREE\n"), _lines, TEXT),
    "letters": FileKind(_text("train.ltr", "G O | O N |\nO N E |\nT W O |\n"), _lines, TEXT),
    "speakers": FileKind(_text("train.spk", "19\n19\n26\n"), _lines, TEXT),
    "dictionary": FileKind(_text("dict.ltr.txt", "| 10\nE 8\nT 5\n"), read_dictionary, TEXT),
    "shard's frames": FileKind(_shard(".npy"), _read_shard, DATA),
    "shard's lengths": FileKind(_shard(".len"), _read_shard, TEXT),
    "shard's description": FileKind(_shard(".json"), _read_shard, TEXT),
    "dense labels": FileKind(_dense(".npy"), _convert, DATA),
    "dense labels' lengths": FileKind(_dense(".len"), _convert, TEXT),
    "mixture": FileKind(_mixture("diag", transform=True), _read_mixture),
    "mixture with full covariances": FileKind(_mixture("full", transform=False), _read_mixture),
    "sticky mixture": FileKind(_mixture("diag", transform=False, transitions=StickyTransitions(0.75)), _read_mixture),
    "mixture with a matrix of transitions": FileKind(_mixture("diag", transform=False, transitions=_MATRIX), _read_mixture),
    "k-means": FileKind(_kmeans(0), read_kmeans, DATA),
    "k-means, zlib": FileKind(_kmeans(("zlib", 3)), read_kmeans),
    "k-means, gzip": FileKind(_kmeans(("gzip", 3)), read_kmeans),
    "k-means, bzip2": FileKind(_kmeans(("bz2", 3)), read_kmeans),
    "k-means, xz": FileKind(_kmeans(("xz", 3)), read_kmeans),
    "k-means, LZMA": FileKind(_kmeans(("lzma", 3)), read_kmeans, DATA),
    "soft labels": FileKind(_gmm(packed=False), _soft),
    "packed soft labels": FileKind(_gmm(packed=True), _soft),
    "smooth control": FileKind(_smooth, _soft),
    "hard labels": FileKind(_hard("train.km"), _read_hard, TEXT),
    "clusters": FileKind(_hard("dict.km.txt"), _read_hard, TEXT),
    "checkpoint": FileKind(_checkpoint(legacy=False), read_checkpoint),
    "checkpoint of PyTorch before 1.6": FileKind(_checkpoint(legacy=True), read_checkpoint, DATA),
    "transformers' configuration": FileKind(SavedModel.file("config.json"), SavedModel.read, TEXT),
    "transformers' weights": FileKind(SavedModel.file("model.safetensors"), SavedModel.read, DATA),
    "transformers' older weights": FileKind(SavedModel.file("pytorch_model.bin", older=True), SavedModel.read),
    "prediction head": FileKind(SavedModel.file("pretraining_head.safetensors"), SavedModel.read, DATA),
    "preprocessor": FileKind(SavedModel.file("preprocessor_config.json"), SavedModel.read, TEXT),
    "vocabulary": FileKind(SavedModel.file("vocab.json"), SavedModel.read, TEXT),
    "chosen layer": FileKind(_json("layers.json", {"layer": 4, "layers": []}), chosen_layer, TEXT),
    "tuned weights": FileKind(_json("tuned.json", {"lm_weight": 2.5, "word_score": -1.0, "tried": []}), read_tuned, TEXT),
    "search configuration": FileKind(_text("kenlm.yaml", DECODING), lambda path: search_settings({}, path), TEXT),
    "lexicon": FileKind(_search("lexicon.txt"), _decode, TEXT, remarks=_FIT),
    "language model": FileKind(_search("lm.arpa"), _decode, TEXT, remarks=_FIT),
    "sentencepiece model": FileKind(_pieces, lambda path: load_pieces(path).encode("GO ON"), DATA),
    "hypotheses": FileKind(_scored("hyp"), _score, TEXT),
    "references": FileKind(_scored("ref"), _score, TEXT),
    "TextGrid": FileKind(_aligned("{}.TextGrid", _TEXTGRID), _align, TEXT),
    "lab": FileKind(_aligned("{}.lab", _LAB), _align, TEXT),
    "CTM": FileKind(_aligned("phones.ctm", _CTM), _align, TEXT),
    "frame list": FileKind(_aligned("phones.tsv", _FRAMES), _align, TEXT),
    "FLAC": FileKind(_audio("a.flac"), _hear, "its samples have a checksum that libsndfile does not compare"),
    "WAV": FileKind(_audio("a.wav"), _hear, DATA),
    "WAV of floats": FileKind(_audio("a.wav", subtype="FLOAT"), _hear, DATA),
    "SPEAKERS.TXT": FileKind(_text("SPEAKERS.TXT", "; ID|SEX\n14 | F | dev | 9 | A | B\n16 | F | x | 9 | C\n"), read_speakers, TEXT),
    "corpus": FileKind(_json("corpus.json", {"parameters": PARAMETERS}), lambda path: is_made(path.parent, PARAMETERS), TEXT),
    **{f"report: {name}": FileKind(experiment(name), read_report, TEXT, name.endswith(".log")) for name in EXPERIMENT_FILES},
}  # fmt: skip
assert INFO.n_components  # the labels of test_labels are described by it
