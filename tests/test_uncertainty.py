"""Where labels are unsure: every number against one computed by hand, and what a number must be for labels made to have it."""

from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

import numpy as np
import pytest

from softhubert_plugin.alignments.phone_classes import phone_class
from softhubert_plugin.alignments.phones import ARPABET, ESPEAK, TIMIT
from softhubert_plugin.alignments.utterances import UNLABELLED, Alignments
from softhubert_plugin.cli import main
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import write_json
from softhubert_plugin.labels.controls import control_labels, smoothed_entropy
from softhubert_plugin.labels.convert import convert_labels
from softhubert_plugin.labels.pack import pack_labels
from softhubert_plugin.labels.soft_layout import SoftLabelInfo, quantised
from softhubert_plugin.labels.soft_writing import write_soft_labels
from softhubert_plugin.labels.targets import FrameTargets
from softhubert_plugin.manifests import read_manifest, write_cluster_dictionary, write_manifest
from softhubert_plugin.report import write_report
from softhubert_plugin.report.uncertainty_figures import uncertainty_documents
from softhubert_plugin.speakers import Speakers
from softhubert_plugin.uncertainty.corpus import open_corpus
from softhubert_plugin.uncertainty.folds import MOST_GROUPS, hold_out
from softhubert_plugin.uncertainty.frames import frames_in_phones
from softhubert_plugin.uncertainty.measure import collect, measure_uncertainty
from softhubert_plugin.uncertainty.overview import run_lengths
from softhubert_plugin.uncertainty.reliability import Reliability, confidence_bin
from softhubert_plugin.uncertainty.table import uncertainty_markdown

# One frame: components and their probabilities.
Frame = Dict[int, float]


def write_labels(folder: Path, utterances: Dict[str, Sequence[Frame]], *, components: int, rate: float = 50.0) -> Path:
    """Write ``train.tsv``, and soft labels of it from frames that are spelt out. Return the path of the labels."""
    sizes = [round((len(frames) / rate + 0.02) * 16_000) for frames in utterances.values()]
    write_manifest(folder / "train.tsv", folder, list(zip(utterances, sizes)))
    targets = [
        FrameTargets(
            np.asarray([len(frame) for frame in frames]),
            np.asarray([component for frame in frames for component in frame]),
            np.asarray([probability for frame in frames for probability in frame.values()], dtype=np.float32),
        )
        for frames in utterances.values()
    ]
    count = sum(map(len, targets))
    fingerprint = read_manifest(folder / "train.tsv").fingerprint
    info = SoftLabelInfo(components, rate, "train", 1.0, 8, 1.0, "", fingerprint, count, 1.0, 1.0, 0.0, 0.0, [count])
    write_soft_labels(folder / "train.gmm", map(quantised, targets), info)
    return folder / "train.gmm"


def align(folder: Path, phones: Dict[str, str]) -> Path:
    """Write ``ali/NAME.lab`` files and return their folder."""
    for name, text in phones.items():
        path = folder / "ali" / f"{name}.lab"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "ali"


def results_of(folder: Path, labels: Path, alignments: Optional[Path] = None, **options: Any) -> Dict[str, Any]:
    """Measure labels, without drawing anything, and return the results as JSON holds them."""
    given = {"phone_set": None, "units_per_second": None, "label_rate": None, "speaker_from": None, **options}
    found: Dict[str, Any] = json.loads(json.dumps(collect(open_corpus(labels, folder / "train.tsv", alignments, **given)).results))
    return found


def written(folder: Path, labels: Path, alignments: Optional[Path] = None) -> Dict[str, Any]:
    """Measure labels, write everything to ``out/``, and read the results."""
    measure_uncertainty(labels, folder / "train.tsv", folder / "out", alignments=alignments)
    found: Dict[str, Any] = json.loads((folder / "out" / "uncertainty.json").read_text())
    return found


B_THEN_S = "0 0.0525 B\n0.0525 0.1 S\n"
SPEAKER_A: List[Frame] = [{0: 1.0}, {0: 0.5, 1: 0.5}, {1: 1.0}, {1: 0.75, 2: 0.25}]
SPEAKER_B: List[Frame] = [{0: 1.0}, {0: 0.5, 1: 0.5}, {1: 1.0}, {2: 1.0}]
LN2, H75 = math.log(2), -0.75 * math.log(0.75) - 0.25 * math.log(0.25)


@pytest.fixture()
def two(tmp_path: Path) -> Tuple[Path, Dict[str, Any]]:
    """Two speakers who say B and S, two frames of each; frame 2 is centred on the boundary."""
    labels = write_labels(tmp_path, {"anna-1.flac": SPEAKER_A, "ben-1.flac": SPEAKER_B}, components=3)
    results = results_of(tmp_path, labels, align(tmp_path, {"anna-1": B_THEN_S, "ben-1": B_THEN_S}))
    write_json(tmp_path / "out" / "uncertainty.json", results)
    return tmp_path, results


def test_two_utterances_have_the_entropies_runs_and_components_computed_by_hand(two: Tuple[Path, Dict[str, Any]]) -> None:
    _, found = two
    assert (found["kind"], found["components"], found["frames"], found["utterances"]) == ("soft", 3, 8, 2)
    assert found["entropy"]["mean"] == pytest.approx((2 * LN2 + H75) / 8, abs=1e-4)
    assert found["entropy"]["perplexity"] == pytest.approx((5 + 2 * 2 + math.exp(H75)) / 8, abs=1e-4)
    assert found["confidence"] == pytest.approx((5 + 2 * 0.5 + 0.75) / 8, abs=1e-4)
    # The most probable components are 0 0 1 1 and 0 0 1 2: runs of 2, 2, 2, 1, 1.
    assert found["runs"]["mean_frames"] == 8 / 5 and found["runs"]["counts"][:3] == [2, 3, 0]
    assert found["runs"]["mean_seconds"] == pytest.approx(8 / 5 / 50)
    assert found["components_used"]["argmax"] == 3
    shares = np.asarray([3, 3.75, 1.25]) / 8
    assert found["components_used"]["perplexity_expected"] == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), abs=1e-3)
    speakers = {row["speaker"]: row for row in found["speakers"]["rows"]}
    assert speakers["anna"]["entropy"] == pytest.approx((LN2 + H75) / 4, abs=1e-4) and speakers["anna"]["right"] == 1
    assert speakers["ben"]["entropy"] == pytest.approx(LN2 / 4, abs=1e-4) and speakers["ben"]["right"] == 0.75
    assert [speakers[name]["run_frames"] for name in ("anna", "ben")] == [2, 4 / 3]
    assert sum(found["entropy"]["histogram"]["counts"]) == 8 and found["entropy"]["histogram"]["counts"][0] == 5


def test_two_utterances_have_the_boundaries_and_phones_computed_by_hand(two: Tuple[Path, Dict[str, Any]]) -> None:
    _, found = two
    assert found["alignments"]["frames"] == 8 and found["alignments"]["phone_run_frames"] == 2
    # Centres at 12.5, 32.5, 52.5 and 72.5 ms, boundary at 52.5 ms: distances of 40, 20, 0 and 20 ms.
    near, at_20, at_40 = (found["boundary"]["all"][number] for number in (0, 2, 4))
    assert (near["from"], near["to"], near["frames"], near["entropy"]["value"]) == (0, 0.01, 2, 0)
    assert (at_20["from"], at_20["frames"]) == (0.02, 4)
    assert at_20["entropy"]["value"] == pytest.approx((2 * LN2 + H75) / 4, abs=1e-4) and at_20["right"]["value"] == 0.75
    assert (at_40["from"], at_40["frames"], at_40["right"]["value"]) == (0.04, 2, 1)
    assert found["boundary"]["speech"] == found["boundary"]["all"]  # nothing is silent
    # B lasts from 0 to 52.5 ms: its frames are at 0.24 and 0.62 of it; S lasts 47.5 ms: at 0 and 0.42.
    assert [row["frames"] for row in found["place"]] == [2, 0, 2, 0, 2, 0, 2, 0, 0, 0]
    phones = {row["phone"]: row for row in found["phones"]}
    assert phones["B"]["entropy"] == pytest.approx(LN2 / 2, abs=1e-4) and phones["B"]["right"] == 1
    assert phones["S"]["entropy"] == pytest.approx(H75 / 4, abs=1e-4) and phones["S"]["right"] == 0.75
    assert [(row["class"], row["frames"]) for row in found["classes"]] == [("fricatives", 4), ("stops", 4)]


def test_two_utterances_have_the_calibration_error_computed_by_hand(two: Tuple[Path, Dict[str, Any]]) -> None:
    _, found = two
    # Component 2 is not among anna's most probable ones, so it gets her most frequent phone, of equals the first, B: wrong in ben's last
    # frame. Confidence 0.5: 2 frames, both right. 0.75: 1, right. 1: 5, of which 4 are right.
    bins = [(row["frames"], row["right"] and row["right"]["value"]) for row in found["reliability"]["bins"]]
    assert bins == [(0, None)] * 4 + [(2, 1.0), (0, None), (0, None), (1, 1.0), (0, None), (5, 0.8)]
    error = 2 / 8 * 0.5 + 1 / 8 * 0.25 + 5 / 8 * 0.2
    assert found["reliability"]["expected_calibration_error"]["value"] == pytest.approx(error, abs=1e-4)
    assert found["reliability"]["right"]["value"] == 7 / 8
    assert found["reliability"]["overconfidence"]["value"] == pytest.approx(6.75 / 8 - 7 / 8, abs=1e-4)


def test_two_utterances_have_the_information_computed_by_hand(two: Tuple[Path, Dict[str, Any]]) -> None:
    _, found = two
    information = found["information"]
    assert information["phone_entropy"]["value"] == pytest.approx(LN2)
    log, p = math.log, 3 / 7  # P(B) = P(S) = (2 + 1) / (4 + 3), as the phones are B, S and sil
    # From ben, for anna: component 0 B 2, 1 S 1, 2 S 1. From anna, for ben: component 0 B 2, 1 S 2.
    of_anna = 2 * log((2 + p) / 3) + 2 * log((1 + p) / 2)
    of_ben = 3 * log((2 + p) / 3) + log(p)
    assert information["argmax"]["mutual_information"]["value"] == pytest.approx(LN2 + (of_anna + of_ben) / 8)
    assert information["argmax"]["pnmi"]["value"] == pytest.approx(1 + (of_anna + of_ben) / 8 / LN2)
    # Expected counts of ben: component 0 B 1.5; 1 B 0.5, S 1; 2 S 1. Of anna: 0 B 1.5; 1 B 0.5, S 1.75; 2 S 0.25.
    b0, b1, s1, s2 = (1.5 + p) / 2.5, (0.5 + p) / 2.5, (1 + p) / 2.5, (1 + p) / 2
    drawn = log(b0) + (log(b0) + log(b1)) / 2 + log(s1) + 0.75 * log(s1) + 0.25 * log(s2)
    whole = log(b0) + log((b0 + b1) / 2) + log(s1) + log(0.75 * s1 + 0.25 * s2)
    b0, b1, s1, s2 = (1.5 + p) / 2.5, (0.5 + p) / 3.25, (1.75 + p) / 3.25, (0.25 + p) / 1.25
    drawn += log(b0) + (log(b0) + log(b1)) / 2 + log(s1) + log(s2)
    whole += log(b0) + log((b0 + b1) / 2) + log(s1) + log(s2)
    assert information["expected"]["mutual_information"]["value"] == pytest.approx(LN2 + drawn / 8, abs=1e-4)
    assert information["posterior"]["mutual_information"]["value"] == pytest.approx(LN2 + whole / 8, abs=1e-4)
    beyond = (whole - of_anna - of_ben) / 8
    assert information["beyond_argmax"]["value"] == pytest.approx(beyond, abs=1e-4)


def _confidences(shift: float) -> Dict[str, Any]:
    """The reliability of frames that are right with a probability of their confidence less ``shift``."""
    rng = np.random.default_rng(3)
    reliability = Reliability(groups=4)
    for group in range(4):
        confidence = rng.uniform(0.3, 1.0, 50_000)
        reliability.add(group, confidence, rng.random(50_000) < confidence - shift)
    return reliability.summary()


def test_calibrated_labels_have_no_calibration_error_and_overconfident_ones_the_known_one() -> None:
    calibrated, overconfident = _confidences(0.0), _confidences(0.2)
    assert calibrated["expected_calibration_error"]["value"] < 0.005
    assert overconfident["expected_calibration_error"]["value"] == pytest.approx(0.2, abs=0.005)
    assert overconfident["overconfidence"]["value"] == pytest.approx(0.2, abs=0.005)
    assert overconfident["overconfidence"]["low"] < 0.2 < overconfident["overconfidence"]["high"]


def test_a_confidence_on_the_upper_end_of_a_bin_belongs_to_it_after_rounding_too() -> None:
    stored = np.asarray([0.1, 0.3, 0.6, 0.7, 1.0, 0.05, 0.61], dtype=np.float32).astype(np.float64)
    stored = np.rint(stored * 65535) / 65535
    assert confidence_bin(stored).tolist() == [0, 2, 5, 6, 9, 0, 6]


def _random_corpus(folder: Path, *, components: int, speakers: int, frames: int, informative: bool) -> Tuple[Path, Path]:
    """Hard labels as certain soft ones, and alignments; the labels say the phone, with errors, or nothing about it."""
    rng = np.random.default_rng(5)
    phones = ("AA", "B", "S", "N")
    utterances: Dict[str, List[Frame]] = {}
    alignments: Dict[str, str] = {}
    for speaker in range(speakers):
        spoken = np.repeat(rng.integers(0, 4, frames // 5), 5)
        labels = rng.integers(0, components, frames)
        if informative:
            labels = np.where(rng.random(frames) < 0.7, spoken + 4 * (labels // 4), labels).clip(0, components - 1)
        utterances[f"spk{speaker}-1.flac"] = [{int(label): 1.0} for label in labels]
        rows = [f"{start * 0.1 + 0.0025:.4f} {start * 0.1 + 0.1025:.4f} {phones[spoken[5 * start]]}\n" for start in range(frames // 5)]
        alignments[f"spk{speaker}-1"] = "".join(rows)
    return write_labels(folder, utterances, components=components), align(folder, alignments)


def test_labels_that_know_nothing_are_not_credited_with_what_was_learned_by_heart(tmp_path: Path) -> None:
    labels, alignments = _random_corpus(tmp_path, components=200, speakers=4, frames=400, informative=False)
    found = results_of(tmp_path, labels, alignments=alignments)["information"]
    assert found["not_held_out"]["argmax"]["pnmi"] > 0.15  # 1600 frames and 200 components: counting alone finds "information"
    assert found["argmax"]["pnmi"]["value"] < 0.0 and found["argmax"]["pnmi"]["high"] < 0.02


def test_the_three_readings_of_hard_labels_are_the_same_and_a_hard_file_gives_them_too(tmp_path: Path) -> None:
    labels, alignments = _random_corpus(tmp_path, components=8, speakers=3, frames=200, informative=True)
    soft = results_of(tmp_path, labels, alignments=alignments)
    information = soft["information"]
    for reading in ("expected", "posterior"):
        assert information[reading]["pnmi"]["value"] == pytest.approx(information["argmax"]["pnmi"]["value"], abs=1e-6)
    assert information["not_held_out"]["expected"] == pytest.approx(information["not_held_out"]["argmax"])
    assert information["beyond_argmax"]["value"] == pytest.approx(0, abs=1e-6) and information["argmax"]["pnmi"]["value"] > 0.2
    (tmp_path / "hard").mkdir()
    convert_labels(labels, tmp_path / "hard" / "train.km")
    hard = results_of(tmp_path, tmp_path / "hard" / "train.km", alignments=alignments, label_rate=50)
    assert hard["information"]["argmax"]["pnmi"]["value"] == pytest.approx(information["argmax"]["pnmi"]["value"])
    assert hard["runs"] == soft["runs"] and hard["alignments"]["frames"] == soft["alignments"]["frames"]
    assert (hard["entropy"], hard["confidence"], hard["reliability"]) == (None, None, None)
    assert all(row["entropy"] is None and row["right"] is not None for row in hard["phones"])
    assert hard["not_applicable"].keys() == {"entropy", "confidence", "reliability"}
    assert "* reliability: hard labels are certain in every frame" in uncertainty_markdown(hard)
    assert [name for name, _ in uncertainty_documents(hard)] == ["overview.svg", "boundary.svg", "classes.svg", "information.svg"]


def test_packed_labels_give_the_numbers_of_plain_ones_and_smoothed_ones_the_entropy_that_they_were_made_for(tmp_path: Path) -> None:
    labels = write_labels(tmp_path, {"anna-1.flac": SPEAKER_A * 5, "ben-1.flac": SPEAKER_B * 5}, components=3)
    plain = results_of(tmp_path, labels)
    (tmp_path / "packed").mkdir()
    pack_labels(labels, tmp_path / "packed" / "train.gmm", step=0.01)
    packed = results_of(tmp_path, tmp_path / "packed" / "train.gmm")
    assert packed["entropy"]["mean"] == pytest.approx(plain["entropy"]["mean"], abs=0.01) and packed["runs"] == plain["runs"]
    (tmp_path / "smooth").mkdir()
    control_labels(labels, tmp_path / "smooth" / "train.gmm", kind="smooth", like=None)
    smooth = results_of(tmp_path, tmp_path / "smooth" / "train.gmm")
    counts = smooth["entropy"]["histogram"]["counts"]
    assert max(counts) == sum(counts) == 40  # the same uncertainty in every frame
    share = (1 - smooth["confidence"]) * 3 / 2
    assert smooth["entropy"]["mean"] == pytest.approx(smoothed_entropy(share, 3), abs=1e-5) and share > 0.05


def test_the_same_labels_at_100_and_at_50_frames_per_second_have_the_same_distances(tmp_path: Path) -> None:
    counts = {}
    for rate, times in ((50.0, 1), (100.0, 2)):
        folder = tmp_path / f"{rate:g}"
        folder.mkdir()
        frames = [frame for frame in SPEAKER_B for _ in range(times)]
        labels = write_labels(folder, {"anna-1.flac": frames, "ben-1.flac": frames}, components=3, rate=rate)
        found = results_of(folder, labels, alignments=align(folder, {"anna-1": B_THEN_S, "ben-1": B_THEN_S}))
        counts[rate] = [row["frames"] for row in found["boundary"]["all"]]
    assert counts[50.0] == [2, 0, 4, 0, 2, 0, 0, 0, 0]
    assert counts[100.0] == [2, 4, 4, 4, 2, 0, 0, 0, 0]  # 0; 10, 10; 20, 20; 30, 30; 40 ms


def test_without_alignments_there_is_what_needs_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = write_labels(tmp_path, {"anna-1.flac": SPEAKER_A, "ben-1.flac": SPEAKER_B}, components=3)
    command = ["labels", "uncertainty", str(labels), "--manifest", str(tmp_path / "train.tsv"), "--dest", str(tmp_path / "out")]
    assert main(command) == 0
    said = capsys.readouterr()
    assert "lasts 1.60 frames (32 ms)" in said.out and "guessed from file names" in said.err
    found = json.loads((tmp_path / "out" / "uncertainty.json").read_text())
    assert found["alignments"] is None and found["information"] is None and found["boundary"] is None
    assert set(found["not_applicable"].values()) == {"no alignments were given"}
    assert [row["right"] for row in found["speakers"]["rows"]] == [None, None]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "overview.svg",
        "speakers.svg",
        "uncertainty.json",
        "uncertainty.md",
    ]


def test_speakers_that_names_do_not_tell_are_left_out_with_a_reason(tmp_path: Path) -> None:
    labels = write_labels(tmp_path, {"one.flac": SPEAKER_A, "two.flac": SPEAKER_B}, components=3)
    found = results_of(tmp_path, labels, alignments=align(tmp_path, {"one": B_THEN_S, "two": B_THEN_S}))
    assert found["speakers"] is None and "--speaker-from" in found["not_applicable"]["speakers"]
    assert found["alignments"]["held_out"]["said"].startswith("the speakers are not known: held out by utterances: 2 runs")


def test_a_single_speaker_is_judged_by_other_utterances_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"anna-{number}" for number in range(7)]
    labels = write_labels(tmp_path, {f"{name}.flac": SPEAKER_A for name in names}, components=3)
    (tmp_path / "train.spk").write_text("anna\n" * 7)
    alignments = align(tmp_path, dict.fromkeys(names, B_THEN_S))
    assert "there is a single speaker: held out by utterances: 7 runs of consecutive utterances in 5 folds" in measure_uncertainty(
        labels, tmp_path / "train.tsv", tmp_path / "out", alignments=alignments
    )
    found = json.loads((tmp_path / "out" / "uncertainty.json").read_text())
    assert found["alignments"]["held_out"]["by"] == "utterances" and found["reliability"]["right"]["value"] == 1
    assert found["information"]["argmax"]["pnmi"]["low"] is not None


def test_a_single_utterance_has_nothing_to_hold_out_and_no_intervals(tmp_path: Path) -> None:
    labels = write_labels(tmp_path, {"anna-1.flac": SPEAKER_A}, components=3)
    found = written(tmp_path, labels, align(tmp_path, {"anna-1": B_THEN_S}))
    assert found["information"] is None and "single aligned utterance" in found["not_applicable"]["information"]
    assert found["boundary"]["all"][0]["entropy"] == {"value": 0.0, "low": None, "high": None}
    assert found["boundary"]["all"][0]["right"] is None
    assert (tmp_path / "out" / "phones.svg").exists() and not (tmp_path / "out" / "reliability.svg").exists()


def test_utterances_of_one_frame_and_of_one_phone_are_counted(tmp_path: Path) -> None:
    labels = write_labels(tmp_path, {"anna-1.flac": [{2: 0.6, 1: 0.4}], "ben-1.flac": [{2: 1.0}]}, components=3)
    found = results_of(tmp_path, labels, alignments=align(tmp_path, {"anna-1": "0 0.04 S\n", "ben-1": "0 0.04 S\n"}))
    assert found["frames"] == 2 and found["runs"]["counts"][0] == 2 and found["alignments"]["frames"] == 2
    assert sum(row["frames"] for row in found["boundary"]["all"]) == 0  # there is no boundary to be near to
    assert found["reliability"]["right"]["value"] == 1
    assert found["information"]["argmax"]["pnmi"]["value"] == 0  # a single phone has no entropy


def test_frames_outside_the_alignment_and_utterances_without_one_are_counted(tmp_path: Path) -> None:
    long = SPEAKER_A * 5  # 0.4 s; the alignment goes from 0.1 to 0.35 s
    names = [f"spk{number}-1" for number in range(25)]
    labels = write_labels(tmp_path, {f"{name}.flac": long for name in names}, components=3)
    alignments = align(tmp_path, dict.fromkeys(names[1:], "0.1 0.2 B\n0.2 0.25 S\n0.3 0.4 AA\n"))
    found = results_of(tmp_path, labels, alignments=alignments)
    assert found["utterances"] == 25 and found["frames"] == 500 and found["alignments"]["utterances"] == 24
    assert found["alignments"]["without_alignment"] == 1
    assert found["alignments"]["frames_without_phone"] == 24 * 5 and found["alignments"]["frames"] == 24 * 15
    assert sum(row["frames"] for row in found["phones"]) == 24 * 15
    unaligned = next(row for row in found["speakers"]["rows"] if row["speaker"] == "spk0")
    assert unaligned["right"] is None and unaligned["frames"] == 20


@pytest.mark.parametrize(
    ("phones", "message"),
    [
        ({"anna-1": B_THEN_S}, "no alignment of 1 of the 2 utterances"),
        ({"anna-1": B_THEN_S, "ben-1": ""}, "ben-1.lab"),
        ({"anna-1": B_THEN_S, "ben-1": "0 3.5 B\n"}, "but the audio is 0.10 s long"),
        ({"anna-1": "0 0.1 sil\n", "ben-1": "0 0.1 sil\n"}, "every label is silence"),
        ({"anna-1": "nan 0.1 B\n", "ben-1": B_THEN_S}, "anna-1.lab"),
    ],
)
def test_alignments_that_do_not_fit_are_refused_in_one_line(
    phones: Dict[str, str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = write_labels(tmp_path, {"anna-1.flac": SPEAKER_A, "ben-1.flac": SPEAKER_B}, components=3)
    files = ["--manifest", str(tmp_path / "train.tsv"), "--alignments", str(align(tmp_path, phones)), "--dest", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="2"):
        main(["labels", "uncertainty", str(labels), *files])
    lines = [line for line in capsys.readouterr().err.splitlines() if "guessed" not in line]
    assert len(lines) == 1 and lines[0].startswith("softhubert: error: ") and message in lines[0]
    assert not (tmp_path / "out").exists()


def test_labels_of_another_manifest_or_length_are_refused(tmp_path: Path) -> None:
    labels = write_labels(tmp_path, {"anna-1.flac": SPEAKER_A, "ben-1.flac": SPEAKER_B}, components=3)
    write_manifest(tmp_path / "other.tsv", tmp_path, [("anna-1.flac", 16_000), ("ben-1.flac", 16_000)])
    with pytest.raises(SoftHubertError, match="made for another manifest"):
        measure_uncertainty(labels, tmp_path / "other.tsv", tmp_path / "out")
    (tmp_path / "other.km").write_text("0 1 0 1\n" * 2)
    write_cluster_dictionary(tmp_path, "km", 2)
    with pytest.raises(SoftHubertError, match=r"has 4 labels, 0\.08 s at 50 Hz, but 1\.00 s of audio"):
        measure_uncertainty(tmp_path / "other.km", tmp_path / "other.tsv", tmp_path / "out", label_rate=50)
    with pytest.raises(SoftHubertError, match="--label-rate"):
        measure_uncertainty(tmp_path / "other.km", tmp_path / "other.tsv", tmp_path / "out")


def test_the_same_labels_give_the_same_bytes(tmp_path: Path) -> None:
    labels, alignments = _random_corpus(tmp_path, components=8, speakers=3, frames=100, informative=True)
    for name in ("a", "b"):
        measure_uncertainty(labels, tmp_path / "train.tsv", tmp_path / name, alignments=alignments)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(names) == 9
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)


def test_odd_names_of_speakers_stay_text_in_tables_and_figures(tmp_path: Path) -> None:
    odd = '<b>|$x^$&"\u200f日'
    labels = write_labels(tmp_path, {f"{odd}-1.flac": SPEAKER_A, "ben-1.flac": SPEAKER_B}, components=3)
    (tmp_path / "train.spk").write_text(f"{odd}\nben\n", encoding="utf-8")
    written(tmp_path, labels)
    table = (tmp_path / "out" / "uncertainty.md").read_text(encoding="utf-8")
    assert "&lt;b>\\|$x^$&amp;" in table and "<b>" not in table
    picture = (tmp_path / "out" / "speakers.svg").read_text(encoding="utf-8")
    assert "&lt;b&gt;|$x^$&amp;" in picture and "<b>" not in picture


@pytest.mark.parametrize("seed", range(20))
def test_intervals_have_the_phones_of_the_frames(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    bounds = np.sort(rng.choice(np.arange(0, 940), 12, replace=False)) / 1000
    bounds[0], bounds[-1] = min(bounds[0], 0.1), max(bounds[-1], 0.9)
    rows = [(start, end, str(rng.choice(["B", "S", "sil", "AA1"]))) for start, end in zip(bounds, bounds[1:]) if rng.random() < 0.8]
    rows += [(0.95, 0.95, "N")]  # lasts no time
    rows = [(0.0, float(rows[0][0]), "S"), *rows]
    align(tmp_path, {"a": "".join(f"{start} {end} {phone}\n" for start, end, phone in rows)})
    write_manifest(tmp_path / "train.tsv", tmp_path, [("a.flac", 16_000)])
    alignments = Alignments(tmp_path / "ali", read_manifest(tmp_path / "train.tsv"))
    starts, phones, end = alignments.intervals(0)
    assert (np.diff(starts) > 0).all() and (np.diff(phones) != 0).all() and end == 0.95
    where = frames_in_phones(alignments, 0, 98, 100.0)
    assert where is not None
    for frame, phone in enumerate(alignments.frames(0, 98, 100.0)):
        centre = frame / 100 + 0.0125
        inside = starts[0] <= centre + 5e-10 and centre < end
        expected = phones[np.searchsorted(starts, centre + 5e-10, side="right") - 1] if inside else UNLABELLED
        assert phone == expected == where.phone[frame]
        if inside:
            assert where.distance[frame] == pytest.approx(np.abs(starts[1:] - centre).min() if len(starts) > 1 else np.inf)


def test_runs_are_counted_as_they_are() -> None:
    assert run_lengths(np.asarray([3, 3, 3, 1, 2, 2])).tolist() == [3, 1, 2]
    assert run_lengths(np.asarray([7])).tolist() == [1]


@pytest.mark.parametrize("speakers", [2, 3, 7, 300])
def test_a_speaker_is_in_one_fold_and_folds_are_of_nearly_equal_length(speakers: int) -> None:
    names = [f"s{number % speakers}" for number in range(4 * speakers)]
    lengths = np.random.default_rng(0).integers(50, 150, len(names))
    aligned = [index for index in range(len(names)) if index % 4 != 3 or speakers > 2]
    found = hold_out(aligned, lengths, Speakers(names, "given"))
    assert found.folds == min(speakers, 5) and found.groups == min(speakers, MOST_GROUPS) and found.by == "speakers"
    fold_of_name: Dict[str, Set[int]] = {}
    for index in aligned:
        fold_of_name.setdefault(names[index], set()).add(int(found.fold_of[found.group_of[index]]))
    assert all(len(folds) == 1 for folds in fold_of_name.values())
    load = np.bincount(found.fold_of[found.group_of[aligned]], weights=lengths[aligned], minlength=found.folds)
    assert load.min() > 0.4 * load.max()


@pytest.mark.parametrize(
    ("phone", "phone_set", "expected"),
    [
        ("AH", "arpabet", "vowels"), ("JH", "arpabet", "affricates"), ("HH", "arpabet", "fricatives"), ("NG", "arpabet", "nasals"),
        ("dx", "timit", "stops"), ("y", "timit", "approximants"), ("sil", "timit", "silence"), ("spn", "arpabet", "noise"),
        ("tS", "espeak", "affricates"), ("N", "espeak", "nasals"), ("I@", "espeak", "vowels"), ("A", "letters", "other"),
        ("AH0", "asis", "vowels"), ("ŋ", "asis", "nasals"), ("dʒ", "asis", "affricates"), ("aː", "asis", "vowels"), ("t̪", "asis", "stops"),
        ("HELLO", "asis", "other"), ("hello", "asis", "other"), ("日", "asis", "other"), ("ɹ̩", "asis", "approximants"),
    ],
)  # fmt: skip
def test_a_phone_has_its_class_in_every_set(phone: str, phone_set: str, expected: str) -> None:
    assert phone_class(phone, phone_set) == expected


def test_every_phone_of_a_set_has_a_class_and_vowels_are_not_what_is_left_over() -> None:
    counts = {name: [phone_class(phone, name) for phone in phones] for name, phones in (("arpabet", ARPABET), ("timit", TIMIT))}
    assert counts["arpabet"].count("vowels") == 15 and counts["timit"].count("vowels") == 14
    consonants = {phone for phone in ESPEAK if phone_class(phone, "espeak") != "vowels"}
    assert consonants == set("; ? b C D d dZ f g h j k l l- l^ m m- N n n- n^ p r r- S s T t tS v w W x Z z".split())  # noqa: SIM905


def _experiment(folder: Path, name: str, results: Optional[Path]) -> Path:
    (folder / name / "uncertainty").mkdir(parents=True)
    (folder / name / "experiment.json").write_text(json.dumps({"name": name}))
    if results is not None:
        (folder / name / "uncertainty" / "uncertainty.json").write_bytes((results / "uncertainty.json").read_bytes())
    return folder / name


def test_the_report_takes_the_figures_in_where_there_are_any(two: Tuple[Path, Dict[str, Any]], tmp_path: Path) -> None:
    folder, found = two
    systems = [_experiment(folder, "hard <b>", None), _experiment(folder, "soft $x$", folder / "out")]
    write_report(systems[:1], tmp_path / "without")
    assert "unsure" not in (tmp_path / "without" / "index.html").read_text()
    said = write_report(systems, tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    assert page.count("<svg") == 6 and "<h2>Where the targets are unsure</h2>" in page and "soft $x$" in page
    pnmi = f"{found['information']['posterior']['pnmi']['value']:.3f}"
    assert pnmi in said and pnmi in page and pnmi in (tmp_path / "report" / "results.md").read_text()
    recorded = json.loads((tmp_path / "report" / "results.json").read_text())["systems"][1]["uncertainty"]
    assert recorded["reliability"] == found["reliability"] and "speakers" not in recorded


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("boundary", {"all": []}), ("boundary", 3), ("place", [{"frames": 1}]), ("phones", [{"phone": 3, "class": "x", "frames": 1}]),
        ("information", {"argmax": {}}), ("information", []), ("reliability", {"bins": []}), ("runs", None), ("entropy", {"mean": "x"}),
        ("entropy", {"mean": 1.0, "histogram": {"edges": [0, 1], "counts": [1, 2]}}), ("speakers", {"rows": [{"speaker": "a"}]}),
        ("classes", [{"class": "vowels", "frames": 1, "entropy": 3}]),
    ],
)  # fmt: skip
def test_results_that_were_changed_are_refused_by_name(part: str, value: Any, two: Tuple[Path, Dict[str, Any]]) -> None:
    folder, found = two
    experiment = _experiment(folder, "soft", folder / "out")
    (experiment / "uncertainty" / "uncertainty.json").write_text(json.dumps({**found, part: value}))
    with pytest.raises(SoftHubertError, match=rf"uncertainty\.json: {part}.*expected.*write it with 'softhubert labels uncertainty'"):
        write_report([experiment], folder / "report")


def test_ten_times_the_utterances_take_no_more_memory(tmp_path: Path) -> None:
    peaks = []
    for times in (4, 40):
        folder = tmp_path / str(times)
        folder.mkdir()
        names = [f"s{number % 4}-{number}" for number in range(4 * times)]
        labels = write_labels(folder, {f"{name}.flac": SPEAKER_A * 10 for name in names}, components=200)
        alignments = align(folder, dict.fromkeys(names, "0 0.3 B\n0.3 0.82 S\n"))
        given = {"phone_set": None, "units_per_second": None, "label_rate": None, "speaker_from": None}
        corpus = open_corpus(labels, folder / "train.tsv", alignments, **given)
        tracemalloc.start()
        collect(corpus)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
