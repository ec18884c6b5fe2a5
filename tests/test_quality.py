"""Label quality, compared with fairseq's script, and its version for expected counts, compared with the definition."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest

from softhubert_plugin.cli import main
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.labels.soft_layout import SoftLabelInfo, quantised
from softhubert_plugin.labels.soft_writing import write_soft_labels
from softhubert_plugin.labels.targets import FrameTargets
from softhubert_plugin.manifests import read_manifest, write_cluster_dictionary, write_manifest
from softhubert_plugin.probing.information import JointCounts, quality
from softhubert_plugin.probing.label_quality import measure_labels
from softhubert_plugin.scoring.bootstrap import resampled

PHONES = ["AA1", "AA0", "B", "S", "IH2", "sil", "SIL"]


def fairseq_script() -> Any:
    """Import fairseq's ``measure_teacher_quality.py`` as a module."""
    fairseq = importlib.util.find_spec("fairseq")
    assert fairseq is not None and fairseq.submodule_search_locations
    path = Path(fairseq.submodule_search_locations[0]) / "examples" / "hubert" / "measure_teacher_quality.py"
    spec = importlib.util.spec_from_file_location("measure_teacher_quality", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture()
def lists(corpus: Path) -> Path:
    """The corpus with random phones in runs, at 50 frames per second, and hard labels that depend on them a little."""
    rng = np.random.default_rng(1)
    manifest = read_manifest(corpus / "train.tsv")
    rows: List[str] = []
    clusters: List[str] = []
    for index in range(len(manifest)):
        frames = 1 + (int(manifest.sizes[index]) - 400) // 320
        phones = np.repeat(rng.integers(0, len(PHONES), frames), rng.integers(1, 6, frames))[:frames]
        hard = np.where(rng.random(frames) < 0.5, phones, rng.integers(0, 9, frames))
        rows.append(f"{manifest.utterance_id(index)}\t{','.join(PHONES[phone] for phone in phones)}\n")
        clusters.append(" ".join(map(str, hard)) + "\n")
    (corpus / "phones.tsv").write_text("".join(rows))
    (corpus / "train.km").write_text("".join(clusters))
    write_cluster_dictionary(corpus, "km", 9)
    return corpus


def _theirs(folder: Path) -> Dict[str, float]:
    script = fairseq_script()
    references, hypotheses = script.read_phn(folder / "phones.tsv"), script.read_lab(folder / "train.tsv", folder / "train.km")
    joint, *_ = script.comp_joint_prob(references, hypotheses)
    information, by_phone, _, phone_entropy, cluster_entropy = script.comp_norm_mutual_info(joint)
    return {
        "phone_purity": script.comp_purity(joint, axis=0)[1],
        "cluster_purity": script.comp_purity(joint, axis=1)[1],
        "mutual_information": information,
        "pnmi": by_phone,
        "phone_entropy": phone_entropy,
        "cluster_entropy": cluster_entropy,
        "phone_segment_frames": script.comp_avg_seg_dur(references.values()),
        "label_segment_frames": script.comp_avg_seg_dur(hypotheses.values()),
    }


def test_hard_labels_get_the_numbers_of_fairseqs_script(lists: Path) -> None:
    # fairseq drops stress, as we do, but takes "SIL" and "sil" for two phones, so give it our spelling.
    folded = (lists / "phones.tsv").read_text().replace("SIL", "sil")
    (lists / "phones.tsv").write_text(folded)
    said = measure_labels(lists / "train.km", lists / "train.tsv", lists / "phones.tsv", label_rate=50, dest=lists / "quality.json")
    ours = json.loads((lists / "quality.json").read_text())
    for name, expected in _theirs(lists).items():
        found = ours[name] if name.endswith("frames") else ours["hard"][name]["value"]
        assert found == pytest.approx(expected, abs=5e-5), name
    assert ours["frames_without_phone"] == 0 and ours["phones"] == 5
    assert f"PNMI {ours['hard']['pnmi']['value']:.4f}" in said
    assert ours["hard"]["pnmi"]["low"] < ours["hard"]["pnmi"]["high"]


def test_soft_labels_are_measured_by_argmax_and_by_expected_counts(lists: Path) -> None:
    manifest = read_manifest(lists / "train.tsv")
    rng = np.random.default_rng(2)
    hard = [np.asarray(line.split(), dtype=np.int64) for line in (lists / "train.km").read_text().splitlines()]
    # Each frame: its hard label with probability 0.75, another with 0.25.
    soft = []
    for labels in hard:
        other = (labels + rng.integers(1, 9, len(labels))) % 9
        components = np.stack([labels, other], axis=1).ravel()
        soft.append(FrameTargets(np.full(len(labels), 2), components, np.tile([0.75, 0.25], len(labels)).astype(np.float32)))
    frames = sum(map(len, hard))
    info = SoftLabelInfo(9, 50.0, "train", 1.0, 2, 1.0, "", manifest.fingerprint, frames, 2.0, 2.0, 0.5, 0.5, [frames])
    write_soft_labels(lists / "train.gmm", map(quantised, soft), info)
    measure_labels(lists / "train.gmm", lists / "train.tsv", lists / "phones.tsv", dest=lists / "soft.json")
    measure_labels(lists / "train.km", lists / "train.tsv", lists / "phones.tsv", label_rate=50, dest=lists / "hard.json")
    found, as_hard = json.loads((lists / "soft.json").read_text()), json.loads((lists / "hard.json").read_text())
    assert found["argmax"] == as_hard["hard"]
    # Expected counts, from their definition.
    joint = np.zeros((5, 9))
    names = sorted({"AA", "B", "S", "IH", "sil"})
    for line, targets in zip((lists / "phones.tsv").read_text().splitlines(), soft):
        phones = [phone.rstrip("012").replace("SIL", "sil") for phone in line.partition("\t")[2].split(",")]
        for phone, components in zip(phones, targets.components.reshape(-1, 2)):
            joint[names.index(phone), components] += [0.75, 0.25]
    assert found["expected"]["pnmi"]["value"] == pytest.approx(quality(joint).pnmi, abs=1e-4)
    assert found["expected"]["pnmi"]["value"] < found["argmax"]["pnmi"]["value"]


def test_most_probable_takes_the_lower_component_of_a_tie() -> None:
    targets = FrameTargets(np.array([2, 1, 3]), np.array([4, 2, 7, 1, 5, 0]), np.array([0.5, 0.5, 1, 0.2, 0.5, 0.3], dtype=np.float32))
    assert targets.most_probable().tolist() == [2, 7, 5]


def test_bootstrap_in_blocks_equals_the_bootstrap_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    utterances = [(rng.integers(0, 3, 40), rng.integers(0, 5, 40)) for _ in range(30)]
    monkeypatch.setattr("softhubert_plugin.probing.information._UTTERANCES_A_BLOCK", 7)
    counts = JointCounts(3, 5, 30, replicates=50)
    for phones, clusters in utterances:
        counts.add(phones, clusters, np.ones(40))
    summary = counts.summary()
    values = []
    for drawn in resampled(np.random.default_rng(0), 30, 50):
        joint = np.zeros((3, 5))
        for times, (phones, clusters) in zip(drawn, utterances):
            np.add.at(joint, (phones, clusters), times)
        values.append(quality(joint).pnmi)
    around = summary["pnmi"]["value"] - np.mean(values)
    assert summary["pnmi"]["low"] == pytest.approx(around + np.percentile(values, 2.5))
    assert summary["pnmi"]["high"] == pytest.approx(around + np.percentile(values, 97.5))


def test_independent_labels_have_no_mutual_information_and_equal_ones_have_all() -> None:
    assert quality(np.ones((4, 6))).pnmi == pytest.approx(0, abs=1e-6)
    same = quality(np.eye(4))
    assert (same.pnmi, same.phone_purity, same.cluster_purity) == pytest.approx((1, 1, 1), abs=1e-6)


def test_labels_are_measured_on_the_aligned_utterances_on_request(lists: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (lists / "phones.tsv").read_text().splitlines(keepends=True)
    (lists / "phones.tsv").write_text("".join(lines[:2]))
    command = ["labels", "quality", str(lists / "train.km"), "--manifest", str(lists / "train.tsv"), "--label-rate", "50"]
    command += ["--alignments", str(lists / "phones.tsv"), "--dest", str(lists / "quality.json")]
    with pytest.raises(SystemExit, match="2"):
        main(command)
    assert "--partial-alignments to leave the others out" in capsys.readouterr().err
    assert main([*command, "--partial-alignments"]) == 0
    found = json.loads((lists / "quality.json").read_text())
    assert (found["utterances"], found["without_alignment"]) == (2, len(lines) - 2)


def test_hard_labels_need_their_rate_and_the_right_one(lists: Path) -> None:
    with pytest.raises(SoftHubertError, match="--label-rate"):
        measure_labels(lists / "train.km", lists / "train.tsv", lists / "phones.tsv")
    with pytest.raises(SoftHubertError, match="at 100 Hz"):
        measure_labels(lists / "train.km", lists / "train.tsv", lists / "phones.tsv", label_rate=100)


def _hard_labels(folder: Path, seconds: Dict[str, float]) -> List[str]:
    """Write a manifest and hard labels of it at 50 frames per second, and return the arguments that measure them."""
    frames = [1 + (round(16_000 * length) - 400) // 320 for length in seconds.values()]
    write_manifest(folder / "train.tsv", folder, [(name, round(16_000 * length)) for name, length in seconds.items()])
    (folder / "train.km").write_text("".join(" ".join(str(frame // 20 % 3) for frame in range(count)) + "\n" for count in frames))
    write_cluster_dictionary(folder, "km", 3)
    files = ["--manifest", str(folder / "train.tsv"), "--alignments", str(folder / "ali"), "--dest", str(folder / "quality.json")]
    return ["labels", "quality", str(folder / "train.km"), *files, "--label-rate", "50"]


@pytest.mark.parametrize(("unit", "frames"), [("milliseconds", 149), ("samples", 149), ("seconds", 149), ("without silence", 120)])
def test_quality_says_how_many_frames_have_no_phone_whatever_the_unit_of_time(
    unit: str, frames: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = _hard_labels(tmp_path, {"a.flac": 3.0})
    per_second = {"milliseconds": 1000, "samples": 16_000}.get(unit, 1)
    bounds = [0.2, 1, 2, 2.6] if unit == "without silence" else [0, 1, 2, 3]
    rows = [f"{start * per_second:g} {end * per_second:g} {phone}\n" for start, end, phone in zip(bounds, bounds[1:], ("AA1", "S", "T"))]
    (tmp_path / "ali").mkdir()
    (tmp_path / "ali" / "a.lab").write_text("".join(rows))
    assert main(command) == 0
    said = capsys.readouterr().out
    assert f"{frames} frames of 1 utterances, 4 phones (arpabet)" in said
    share = 100 * (149 - frames) / 149
    named = {"samples": "samples at 16 kHz", "without silence": "seconds"}.get(unit, unit)
    assert f"alignments in {named}: {149 - frames} more frames have no phone ({share:.1f} %); utterances without alignment: 0" in said
    result = json.loads((tmp_path / "quality.json").read_text())
    assert (result["frames"], result["frames_without_phone"], result["without_alignment"]) == (frames, 149 - frames, 0)


def test_quality_is_refused_where_an_utterance_would_be_measured_with_anothers_phones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = _hard_labels(tmp_path, {"spk1/001.flac": 1.0, "spk2/001.flac": 1.0, "spk2/002.flac": 1.0})
    for name, phone in (("spk1/001", "B"), ("spk2/002", "S")):
        (tmp_path / "ali" / name).parent.mkdir(parents=True)
        (tmp_path / "ali" / f"{name}.lab").write_text(f"0 1 {phone}\n")
    with pytest.raises(SystemExit, match="2"):
        main(command)
    error = capsys.readouterr().err
    assert "no alignment of 1 of the 3 utterances" in error and "the first spk2/001.flac" in error and error.count("\n") == 1
    (tmp_path / "ali" / "spk2" / "001.lab").write_text("0 1 T\n")
    assert main(command) == 0
    assert "147 frames of 3 utterances, 4 phones (arpabet)" in capsys.readouterr().out
