"""The report's comparisons of character errors, of layers, and of the pairs of systems that were asked for, with numbers by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import pytest

from softhubert_plugin.cli import main
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.report import write_report
from softhubert_plugin.report.verdict import ONE_SEED
from softhubert_plugin.scoring.crossed import crossed_interval, difference_table
from softhubert_plugin.scoring.pairs import pair_scores

CHARACTERS = 100  # of each utterance; there are two utterances of each speaker
T_975 = 4.302653  # 97.5 % quantile of Student's t with 2 degrees of freedom


def _run(
    root: Path, system: str, seed: int, errors: Sequence[int] = (), *, name: str = "", accuracy: Optional[float] = None,
    pnmi: Optional[float] = None, speech_accuracy: Optional[float] = None, purity: Optional[float] = None, counts: bool = True,
    sets: Sequence[str] = ("test",),
) -> Path:  # fmt: skip
    """Write the folder of one run.

    Args:
        errors: character errors of each utterance. Its word errors are one in ten words, in every system and seed.
        accuracy, pnmi, speech_accuracy: of layer 2, which is chosen; layer 1 is better.
        counts: whether the score has character errors of each utterance.
    """
    folder = root / f"{system.replace('/', ' ')}-{seed}"
    (folder / "scores").mkdir(parents=True)
    (folder / "experiment.json").write_text(json.dumps({"name": name or system, "system": system, "seed": seed}))
    for test_set in sets if errors else ():
        utterances = range(len(errors))
        each: Dict[str, List[Any]] = {
            "id": [f"u{number}" for number in utterances], "errors": [1] * len(errors), "words": [10] * len(errors),
            "speaker": [f"s{number // 2}" for number in utterances],
        }  # fmt: skip
        if counts:
            each.update(character_errors=list(errors), characters=[CHARACTERS] * len(errors))
        score = {"wer": 0.1, "low": 0.0, "high": 1.0, "cer": sum(errors) / (CHARACTERS * len(errors)), "per_utterance": each}
        (folder / "scores" / f"{test_set}.json").write_text(json.dumps(score))
    of_layer = {"accuracy": accuracy, "speech_accuracy": speech_accuracy, "pnmi": pnmi}
    measured = {key: value for key, value in of_layer.items() if value is not None}
    if measured:
        rows = [{"layer": 2 - place, **{key: _measure(value + 0.1 * place) for key, value in measured.items()}} for place in (0, 1)]
        (folder / "layers.json").write_text(json.dumps({"layer": 2, "layers": rows}))
    if purity is not None:
        (folder / "quality.json").write_text(json.dumps({"hard": {"pnmi": _measure(purity)}}))
    return folder


def _runs(root: Path, system: str, by_seed: Sequence[Sequence[int]], **options: Any) -> List[Path]:
    return [_run(root, system, seed, errors, **options) for seed, errors in enumerate(by_seed, start=1)]


def _probed(root: Path, **accuracies: Sequence[float]) -> List[Path]:
    """Runs of systems that were probed alone, a seed after the other."""
    return [_run(root, name, seed, accuracy=value) for name, values in accuracies.items() for seed, value in enumerate(values, start=1)]


def _measure(value: float) -> Dict[str, float]:
    return {"value": value, "low": value, "high": value}


def _results(root: Path) -> Any:
    return json.loads((root / "report" / "results.json").read_text())


def _tables(root: Path) -> Dict[str, Any]:
    return {table["measure"]: table for table in _results(root)["over_seeds"]}


def _p_value(t: float) -> float:
    """Two-sided p-value of Student's t with two degrees of freedom, which has a closed form."""
    return 1 - abs(t) / math.sqrt(t * t + 2)


# Two speakers with two utterances of 100 characters. By seed, km has 160, 164 and 168 errors in 400 characters, soft always 140: it has
# 5, 6 and 7 points less. The mean is 6, the deviation 1, and t is -6 / (1 / sqrt(3)).
KM = [(50, 40, 40, 30), (50, 44, 40, 30), (50, 44, 44, 30)]
SOFT = [(45, 35, 35, 25), (45, 35, 35, 25), (45, 35, 30, 30)]
T_CER, REACH = -6 * math.sqrt(3), T_975 / math.sqrt(3)
BY_SPEAKER = np.asarray([[-10, -10], [-14, -10], [-14, -14]])  # soft's errors minus km's, of each seed and speaker, in 200 characters


def test_character_error_rates_have_a_table_with_paired_differences_by_seed_and_speakers(tmp_path: Path) -> None:
    write_report([*_runs(tmp_path, "km", KM), *_runs(tmp_path, "soft", SOFT)], tmp_path / "report")
    km, soft = _tables(tmp_path)["CER %"]["systems"]
    assert list(km["values"].values()) == pytest.approx([0.40, 0.41, 0.42]) and soft["mean"] == pytest.approx(0.35)
    found = soft["difference"]
    assert (found["mean"], found["low"], found["high"]) == pytest.approx((-0.06, -0.06 - REACH / 100, -0.06 + REACH / 100))
    assert (found["p_value"], found["p_holm"]) == pytest.approx((_p_value(T_CER), _p_value(T_CER)))
    assert found["paired_seeds"] == ["1", "2", "3"] and "difference" not in km
    crossed, expected = found["by_seeds_and_speakers"], crossed_interval(difference_table(BY_SPEAKER, np.full((3, 2), 200)))
    assert (crossed["low"], crossed["high"]) == pytest.approx((float(expected.low), float(expected.high)))
    assert crossed["method"] == "Student's t over 3 seeds and 2 speakers"
    shown = f"| soft | 3 | 35.00 | 35.00 to 35.00 | -6.00 | {-6 - REACH:.2f} to {-6 + REACH:.2f} | {_p_value(T_CER):.2g} |"
    assert f"{shown} {100 * expected.low:+.2f} to {100 * expected.high:+.2f} |" in (tmp_path / "report" / "results.md").read_text()


def test_character_error_rates_are_a_question_of_their_own(tmp_path: Path) -> None:
    sets = ("clean", "other")
    write_report([*_runs(tmp_path, "km", KM, sets=sets), *_runs(tmp_path, "soft", SOFT, sets=sets)], tmp_path / "report")
    assert list(_tables(tmp_path)) == ["clean WER %", "clean CER %", "other WER %", "other CER %"]
    for name in sets:
        _, soft = _tables(tmp_path)[f"{name} CER %"]["systems"]
        assert soft["difference"]["p_holm"] == pytest.approx(2 * _p_value(T_CER)), "of two test sets, and of no word error rates"
    assert [each["on"] for each in _results(tmp_path)["comparisons"]] == ["clean", "other"], "the verdict is on words"


def test_scores_without_characters_of_each_utterance_are_compared_by_seed(tmp_path: Path) -> None:
    runs = [*_runs(tmp_path, "km", KM, counts=False), *_runs(tmp_path, "soft", SOFT)]
    printed = write_report(runs, tmp_path / "report", compare=[("km", "soft")])
    (found,) = _tables(tmp_path)["CER %"]["differences"]
    assert found["difference"]["p_value"] == pytest.approx(_p_value(T_CER)) and found["by_seeds_and_speakers"] is None
    assert f"| soft − km | 3 | -6.00 | {-6 - REACH:.2f} to {-6 + REACH:.2f} | {_p_value(T_CER):.2g} | – | – |" in _markdown(tmp_path)
    assert f"{-6 + REACH:.2f}, p = {_p_value(T_CER):.2g}, Student's t over 3 seeds): fewer character errors." in printed


def test_character_errors_are_paired_by_utterance_and_only_on_the_same_references() -> None:
    first = {"per_utterance": {"id": ["a", "b"], "errors": [1, 2], "words": [5, 6], "character_errors": [3, 4], "characters": [20, 30]}}
    second = {"per_utterance": {key: values[::-1] for key, values in first["per_utterance"].items()}}
    second["per_utterance"]["character_errors"] = [9, 8]
    pair = pair_scores(first, second, "characters")
    assert pair is not None and pair.errors_a.tolist() == [3, 4] and pair.errors_b.tolist() == [8, 9] and pair.words.tolist() == [20, 30]
    second["per_utterance"]["characters"] = [30, 22]
    assert pair_scores(first, second, "characters") is None and pair_scores(first, second) is not None
    of_one_reference = [{**score, "references_sha256": "x"} for score in (first, second)]
    pair = pair_scores(*of_one_reference, "characters")
    assert pair is not None and pair.words.tolist() == [21, 30], "with alternatives, the best path may be longer in one system"
    second["per_utterance"].update(words=[6, 7], characters=[30, 20])
    assert pair_scores(first, second, "characters") is None, "other words are other references"
    del first["per_utterance"]["characters"]
    assert pair_scores(first, second, "characters") is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"character_errors": None}, "per_utterance.character_errors is 'None', expected a list"),
        ({"characters": [100] * 3}, r"per_utterance.characters is '\[100, 100, 100\]', expected one value for each of 4 utterances"),
        ({"character_errors": [50, 40, -1, 30]}, "expected one value for each of 4 utterances"),
        ({"character_errors": [50, 40, 0.5, 30]}, "expected one value for each of 4 utterances"),
        ({"character_errors": [50, 40, 41, 30]}, "cer is '0.4', expected 161 errors in 400 characters"),
        ({"characters": [0] * 4}, "cer is '0.4', expected 160 errors in 0 characters"),
    ],
)
def test_character_counts_that_do_not_fit_are_refused_by_file_and_key(tmp_path: Path, changed: Dict[str, Any], said: str) -> None:
    run = _run(tmp_path, "km", 1, KM[0])
    path = run / "scores" / "test.json"
    score = json.loads(path.read_text())
    score["per_utterance"].update(changed)
    path.write_text(json.dumps(score))
    with pytest.raises(SoftHubertError, match=rf"test\.json: .*{said}; score again with"):
        write_report([run], tmp_path / "report")


@pytest.mark.parametrize(
    ("key", "title", "factor", "digits"),
    [("pnmi", "PNMI, chosen layer", 1, 4), ("speech_accuracy", "probing accuracy of speech %, chosen layer", 100, 2)],
)
def test_another_measure_of_the_chosen_layer_has_a_table_that_is_corrected_apart_from_accuracy(
    tmp_path: Path, key: str, title: str, factor: float, digits: int
) -> None:
    found = {"km": (0.40, 0.41, 0.42), "soft": (0.42, 0.45, 0.45)}  # soft has 2, 4 and 3 points more: t is 3 sqrt(3)
    runs = [
        _run(tmp_path, name, seed, accuracy=value, **{key: value}) for name, of in found.items() for seed, value in enumerate(of, start=1)
    ]
    write_report(runs, tmp_path / "report")
    assert list(_tables(tmp_path)) == ["probing accuracy %, chosen layer", title]
    _, soft = _tables(tmp_path)[title]["systems"]
    assert soft["mean"] == pytest.approx(0.44), "of the layer that was chosen, not of the best one"
    expected = _p_value(3 * math.sqrt(3))
    assert (soft["difference"]["p_value"], soft["difference"]["p_holm"]) == pytest.approx((expected, expected))
    assert f"| soft | 3 | {factor * 0.44:.{digits}f} |" in _markdown(tmp_path)


def _markdown(root: Path) -> str:
    return (root / "report" / "results.md").read_text()


# Differences of probing accuracy by seed, in points: soft - argmax 2, 4, 3 (t = 3 sqrt(3)); argmax - km 3, 5, 7 (t = 5 sqrt(3) / 2).
PROBED = {"km": (0.40, 0.40, 0.40), "argmax": (0.43, 0.45, 0.47), "soft": (0.45, 0.49, 0.50)}
PAIRS = [("argmax", "soft"), ("km", "argmax")]


def test_just_the_pairs_that_were_asked_for_are_compared(tmp_path: Path) -> None:
    write_report(_probed(tmp_path, **PROBED), tmp_path / "report", compare=PAIRS)
    table = _tables(tmp_path)["probing accuracy %, chosen layer"]
    assert not any("difference" in row for row in table["systems"]), "nothing is compared with the first system"
    first, second = table["differences"]
    assert (first["first"], first["second"], second["first"], second["second"]) == ("argmax", "soft", "km", "argmax")
    assert (first["difference"]["mean"], second["difference"]["mean"]) == pytest.approx((0.03, 0.05))
    smaller, larger = _p_value(3 * math.sqrt(3)), _p_value(2.5 * math.sqrt(3))
    assert (first["difference"]["p_value"], second["difference"]["p_value"]) == pytest.approx((smaller, larger))
    assert (first["difference"]["p_holm"], second["difference"]["p_holm"]) == pytest.approx((2 * smaller, 2 * smaller))
    assert first["comparisons_corrected_for"] == 2 and first["by_seeds_and_speakers"] is None
    markdown, page = _markdown(tmp_path), (tmp_path / "report" / "index.html").read_text()
    assert "| probing accuracy %, chosen layer | seeds | mean | 95 % interval |" in markdown
    assert "| probing accuracy %, chosen layer: pair | seeds paired | difference | by seed | p (Holm) |" in markdown
    row = ["soft − argmax", "3", "+3.00", f"{3 - REACH:+.2f} to {3 + REACH:+.2f}", f"{2 * smaller:.2g}"]
    assert f"| {' | '.join(row)} |" in markdown
    assert f'<th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}' in page


def test_every_measure_has_its_table_of_differences_below_its_means(tmp_path: Path) -> None:
    runs = []
    for name, errors in (("km", KM), ("argmax", KM), ("soft", SOFT)):
        for seed in (1, 2, 3):
            value = 0.4 + 0.01 * seed
            runs.append(_run(tmp_path, name, seed, errors[seed - 1], accuracy=value, pnmi=value, purity=value))
    write_report(runs, tmp_path / "report", compare=[("argmax", "soft")])
    titles = ["WER %", "CER %", "probing accuracy %, chosen layer", "PNMI, chosen layer", "PNMI"]
    headings = [line.split(" | ")[0][2:] for line in _markdown(tmp_path).splitlines() if line.startswith("| ") and "seeds" in line]
    assert headings == [heading for title in titles for heading in (title, f"{title}: pair")]
    for table in _tables(tmp_path).values():
        (found,) = table["differences"]
        assert (found["first"], found["second"], found["difference"]["paired_seeds"]) == ("argmax", "soft", ["1", "2", "3"])
    speakers = [title for title, table in _tables(tmp_path).items() if table["differences"][0]["by_seeds_and_speakers"] is not None]
    assert speakers == ["WER %", "CER %"]
    assert [each["measure"] for each in _results(tmp_path)["comparisons"]] == titles[:3]


def test_a_pair_the_other_way_round_has_the_other_sign(tmp_path: Path) -> None:
    runs = [*_runs(tmp_path, "km", KM), *_runs(tmp_path, "soft", SOFT)]
    found = []
    for pair in (("km", "soft"), ("soft", "km")):
        write_report(runs, tmp_path / "report", compare=[pair])
        found.append(_tables(tmp_path)["CER %"]["differences"][0])
    (there, back) = found
    assert there["difference"]["mean"] == -back["difference"]["mean"] and there["difference"]["p_holm"] == back["difference"]["p_holm"]
    assert there["by_seeds_and_speakers"]["low"] == pytest.approx(-back["by_seeds_and_speakers"]["high"])


def test_a_verdict_on_probing_is_claimed_by_the_rule_of_word_errors(tmp_path: Path) -> None:
    runs = _probed(tmp_path, **PROBED)
    p_value = _p_value(3 * math.sqrt(3))
    assert p_value < 0.05 < 2 * p_value
    how = f"(95 % interval {3 - REACH:+.2f} to {3 + REACH:+.2f}, p = {p_value:.2g}, Student's t over 3 seeds)"
    said = f"soft against argmax: +3.00 points of probing accuracy {how}: higher probing accuracy."
    assert said in write_report(runs, tmp_path / "report", compare=PAIRS[:1]).splitlines()
    comparison = _results(tmp_path)["comparisons"][-1]
    assert (comparison["measure"], comparison["claim"]) == ("probing accuracy %, chosen layer", "higher probing accuracy")
    assert comparison["verdict"] == said and "on" not in comparison
    assert write_report(runs, tmp_path / "report", compare=[("soft", "argmax")]).splitlines()[-1].endswith(": lower probing accuracy.")
    corrected = write_report(runs, tmp_path / "report", compare=PAIRS).splitlines()
    found = [line for line in corrected if "points of probing accuracy" in line]
    assert len(found) == 2 and all(
        line.endswith("p corrected for 2 comparisons): shows no difference in probing accuracy.") for line in found
    )


def test_a_verdict_on_character_errors_names_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    errors = {name: [rng.binomial(CHARACTERS, rate, 24).tolist() for _ in range(4)] for name, rate in (("km", 0.5), ("soft", 0.4))}
    runs = [run for name, by_seed in errors.items() for run in _runs(tmp_path, name, by_seed)]
    words, letters = write_report(runs, tmp_path / "report", compare=[("km", "soft")]).splitlines()[-2:]
    assert words.startswith("soft against km: +0.00 points of WER") and words.endswith(": shows no difference.")
    assert letters.startswith("soft against km: -") and "points of CER" in letters and letters.endswith(": fewer character errors.")
    assert "hierarchical bootstrap over 4 seeds and 12 speakers" in letters
    claims = [(each["measure"], each["claim"]) for each in _results(tmp_path)["comparisons"]]
    assert claims == [("WER %", "no difference"), ("CER %", "fewer character errors")]
    turned = write_report(runs, tmp_path / "report", compare=[("soft", "km")]).splitlines()[-1]
    assert turned.endswith(": more character errors.")


def test_one_seed_claims_nothing_by_any_measure(tmp_path: Path) -> None:
    runs = [_run(tmp_path, name, 1, errors, accuracy=value) for name, errors, value in (("km", KM[0], 0.3), ("soft", SOFT[0], 0.9))]
    lines = write_report(runs, tmp_path / "report", compare=[("km", "soft")]).splitlines()[-3:]
    assert all(line.startswith("soft against km: ") and line.endswith(f"{ONE_SEED}.") for line in lines)
    assert "+60.00 points of probing accuracy" in lines[2] and "-5.00 points of CER" in lines[1]
    assert not any("claim" in each for each in _results(tmp_path)["comparisons"])
    assert [each["difference"] for each in _results(tmp_path)["comparisons"]] == pytest.approx([0.0, -0.05, 0.6])


def test_what_only_one_system_of_a_pair_has_is_not_comparable(tmp_path: Path) -> None:
    runs = [*_runs(tmp_path, "km", KM), *_probed(tmp_path, soft=(0.5, 0.6))]
    lines = write_report(runs, tmp_path / "report", compare=[("km", "soft")]).splitlines()
    assert lines[-3:] == [
        "soft against km: not comparable, there are no scores on the same utterances.",
        "soft against km: not comparable, there are no character error rates on the same utterances.",
        "soft against km: not comparable, there is no probing accuracy of the same seeds.",
    ]
    assert "| soft − km | 0 | – | – | – |" in _markdown(tmp_path)


def test_what_no_system_has_is_not_spoken_of(tmp_path: Path) -> None:
    runs = [*_runs(tmp_path, "km", KM), *_runs(tmp_path, "soft", SOFT)]
    assert "probing accuracy" not in write_report(runs, tmp_path / "report", compare=[("km", "soft")])


def test_without_pairs_the_sentences_are_on_word_errors_alone(tmp_path: Path) -> None:
    runs = [_run(tmp_path, name, seed, KM[seed - 1], accuracy=0.1 * seed) for name in ("km", "soft") for seed in (1, 2, 3)]
    sentences = [line for line in write_report(runs, tmp_path / "report").splitlines() if " against " in line]
    assert len(sentences) == 1 and "points of WER" in sentences[0]
    assert "measure" not in _results(tmp_path)["comparisons"][0]


def test_seeds_without_a_partner_are_named_for_each_pair(tmp_path: Path) -> None:
    runs = _probed(tmp_path, km=(0.4, 0.41), argmax=(0.42, 0.44, 0.43), soft=(0.5, 0.52, 0.53, 0.5))
    write_report(runs, tmp_path / "report", compare=PAIRS)
    assert _results(tmp_path)["left_out"] == [
        "soft against argmax: without a partner, and so in no difference: seed 4 of soft (probing accuracy %, chosen layer).",
        "argmax against km: without a partner, and so in no difference: seed 3 of argmax (probing accuracy %, chosen layer).",
    ]


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([("km", "sofd")], "no system is called 'sofd'; choose from 'km', 'argmax', 'soft'"),
        ([("KM", "soft"), ("km", "x")], "no system is called 'KM' or 'x'; choose from"),
        ([("km", "soft, seed 1")], "no system is called 'soft, seed 1'; choose from"),
        ([("soft", "soft")], "'soft' 'soft': expected two systems, found one; name another"),
        ([("km", "soft"), ("soft", "km")], "'soft' 'km': this pair is asked for twice; remove one"),
    ],
)
def test_pairs_that_are_no_pairs_of_systems_are_refused_before_anything_is_written(tmp_path: Path, pairs: Any, said: str) -> None:
    with pytest.raises(SoftHubertError, match=f"--compare:? {said}"):
        write_report(_probed(tmp_path, **PROBED), tmp_path / "report", compare=pairs)
    assert not (tmp_path / "report").exists()


def test_a_system_with_one_run_answers_to_the_name_of_the_run(tmp_path: Path) -> None:
    runs = [_run(tmp_path, "km", 1, accuracy=0.4, name="hard <k-means>"), _run(tmp_path, "soft", 1, accuracy=0.5, name="soft, seed 1")]
    line = write_report(runs, tmp_path / "report", compare=[("hard <k-means>", "soft")]).splitlines()[-1]
    assert line.startswith("soft, seed 1 against hard <k-means>: +10.00 points of probing accuracy")


def test_names_of_pairs_are_escaped_on_the_page(tmp_path: Path) -> None:
    runs = [_run(tmp_path, name, seed, accuracy=0.4) for name in ("<a>", "b|c") for seed in (1, 2)]
    write_report(runs, tmp_path / "report", compare=[("<a>", "b|c")])
    page = (tmp_path / "report" / "index.html").read_text()
    assert "b|c − &lt;a&gt;" in page and "<a>" not in page and "| b\\|c − <a> |" in _markdown(tmp_path)


def test_the_command_takes_several_pairs_and_says_what_it_cannot_find(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(run) for run in _probed(tmp_path, **PROBED)]
    dest = ["--dest", str(tmp_path / "report")]
    assert main(["report", *folders, *dest, "--compare", "argmax", "soft", "--compare", "km", "argmax"]) == 0
    assert len(_tables(tmp_path)["probing accuracy %, chosen layer"]["differences"]) == 2
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main(["report", *folders, "--compare", "argmax", "nothing", *dest])
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "softhubert: error: --compare: no system is called 'nothing'; choose from 'km', 'argmax', 'soft'"
