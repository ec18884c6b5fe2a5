"""The report over seeds: what it says in words, tables, the figure and ``results.json``, and which runs it refuses or leaves out."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.plotting import svg_element
from softhubert_plugin.report import figures, seed_figure, write_report
from softhubert_plugin.report.saved import save_experiment
from softhubert_plugin.report.verdict import ONE_SEED

SPEAKERS, UTTERANCES = 12, 5


def _run(
    root: Path, system: str, seed: Any, error_rate: float, *, accuracies: Sequence[float] = (), purity: Optional[float] = None,
    counts: str = "hard", sets: Sequence[str] = ("test",), ids: str = "u", speakers: int = SPEAKERS,
) -> Path:  # fmt: skip
    """Write the folder of one run. Its errors are random, but the same number makes the same errors."""
    folder = root / f"{system}-{seed}"
    (folder / "scores").mkdir(parents=True)
    settings = {"name": system, "system": system, **({} if seed is None else {"seed": seed})}
    (folder / "experiment.json").write_text(json.dumps(settings))
    count = SPEAKERS * UTTERANCES
    for number, name in enumerate(sets):
        rng = np.random.default_rng([number, sum(map(ord, f"{system}{seed}"))])
        words = np.full(count, 20)
        errors = rng.binomial(20, error_rate, count)
        each = {
            "id": [f"{ids}{number}" for number in range(count)], "errors": errors.tolist(), "words": words.tolist(),
            "speaker": [f"s{number * speakers // count}" for number in range(count)],
        }  # fmt: skip
        score = {"wer": errors.sum() / words.sum(), "low": 0.0, "high": 1.0, "cer": None, "per_utterance": each}
        (folder / "scores" / f"{name}.json").write_text(json.dumps(score))
    if accuracies:
        rows = [{"layer": layer, "accuracy": _measure(value)} for layer, value in enumerate(accuracies, start=1)]
        (folder / "layers.json").write_text(json.dumps({"layer": 1, "layers": rows}))
    if purity is not None:
        measures = {"phone_purity": _measure(purity), "cluster_purity": _measure(purity), "pnmi": _measure(purity)}
        (folder / "quality.json").write_text(json.dumps({counts: measures}))
    return folder


def _measure(value: float) -> Dict[str, float]:
    return {"value": value, "low": value, "high": value}


def _results(root: Path) -> Any:
    return json.loads((root / "report" / "results.json").read_text())


def _written(root: Path) -> List[str]:
    return [(root / "report" / name).read_text() for name in ("results.md", "index.html", "results.json")]


def test_a_clear_difference_over_seeds_is_claimed_everywhere(tmp_path: Path) -> None:
    runs = [_run(tmp_path, system, seed, rate) for system, rate in (("km", 0.4), ("soft", 0.2)) for seed in (1, 2, 3, 4)]
    printed = write_report(runs, tmp_path / "report")
    sentence = printed.splitlines()[-1]
    assert sentence.startswith("soft against km: -") and sentence.endswith("Student's t by seed): fewer errors.")
    assert "hierarchical bootstrap over 4 seeds and 12 speakers" in sentence
    markdown, page, _ = _written(tmp_path)
    assert sentence in markdown and sentence.replace("'", "&#x27;") in page
    (comparison,) = _results(tmp_path)["comparisons"]
    assert comparison["verdict"] == sentence and comparison["claim"] == "fewer errors" and comparison["seeds"] == ["1", "2", "3", "4"]
    rates = [[system["wer"] for system in _results(tmp_path)["systems"]][start : start + 4] for start in (0, 4)]
    assert comparison["difference"] == pytest.approx(np.mean(rates[1]) - np.mean(rates[0]))
    assert comparison["by_seed"]["p_value"] == pytest.approx(stats.ttest_rel(rates[1], rates[0]).pvalue)


def test_the_other_way_round_it_is_more_errors(tmp_path: Path) -> None:
    runs = [_run(tmp_path, system, seed, rate) for system, rate in (("soft", 0.2), ("km", 0.4)) for seed in (1, 2, 3, 4)]
    assert write_report(runs, tmp_path / "report").endswith(": more errors.")


def test_the_same_rate_in_every_seed_shows_no_difference(tmp_path: Path) -> None:
    runs = [_run(tmp_path, system, seed, 0.3) for system in ("km", "soft") for seed in (1, 2, 3)]
    assert write_report(runs, tmp_path / "report").endswith(": shows no difference.")


@pytest.mark.parametrize("rates", [(0.4, 0.1), (0.1, 0.4), (0.3, 0.3)])
def test_one_seed_never_claims_fewer_or_more_errors(tmp_path: Path, rates: Sequence[float]) -> None:
    runs = [_run(tmp_path, system, 1, rate) for system, rate in zip(("km", "soft"), rates)]
    printed = write_report(runs, tmp_path / "report")
    assert printed.endswith(f"{ONE_SEED}.")
    for text in (printed, *_written(tmp_path)):
        assert "fewer errors" not in text and "more errors" not in text and ONE_SEED in text
    assert _results(tmp_path)["over_seeds"] == [] and "A dot per seed" not in _written(tmp_path)[1]


def test_the_table_has_means_intervals_and_paired_differences(tmp_path: Path) -> None:
    runs = [_run(tmp_path, system, seed, rate) for system, rate in (("km", 0.4), ("soft", 0.3)) for seed in (2, 10, 1)]
    write_report(runs, tmp_path / "report")
    (table,) = _results(tmp_path)["over_seeds"]
    assert table["measure"] == "WER %"
    km, soft = (list(system["values"].values()) for system in table["systems"])
    assert list(table["systems"][0]["values"]) == ["1", "2", "10"], "seeds are in numerical order"
    low, high = stats.t.interval(0.95, 2, np.mean(soft), stats.sem(soft))
    found = table["systems"][1]
    assert (found["mean"], found["low"], found["high"]) == pytest.approx((np.mean(soft), low, high))
    assert found["difference"]["p_value"] == pytest.approx(stats.ttest_rel(soft, km).pvalue)
    assert "difference" not in table["systems"][0]
    markdown, page, _ = _written(tmp_path)
    columns = ["WER %", "seeds", "mean", "95 % interval", "difference", "by seed", "p (Holm)", "by seeds and speakers", "p (Holm)"]
    assert f"| {' | '.join(columns)} |" in markdown
    assert f"| soft | 3 | {100 * np.mean(soft):.2f} | {100 * low:.2f} to {100 * high:.2f} |" in markdown
    assert "<h2>Seeds</h2>" in page and "<h2>A dot per seed</h2>" in page


def test_p_values_are_corrected_for_all_systems_and_test_sets(tmp_path: Path) -> None:
    sets = ("clean", "other")
    runs = [_run(tmp_path, system, seed, 0.3, sets=sets) for system in ("km", "gmm", "argmax") for seed in (1, 2, 3)]
    printed = write_report(runs, tmp_path / "report")
    comparisons = _results(tmp_path)["comparisons"]
    assert [(each["second"], each["on"]) for each in comparisons] == [(name, on) for name in ("gmm", "argmax") for on in sets]
    assert printed.count("p corrected for 4 comparisons") == 4
    for of in (lambda each: each, lambda each: each["by_seed"]):
        smallest = min(comparisons, key=lambda each: of(each)["p_value"])
        assert of(smallest)["p_holm"] == pytest.approx(min(1, 4 * of(smallest)["p_value"]))


def test_seeds_without_a_partner_are_said_and_not_dropped_in_silence(tmp_path: Path) -> None:
    runs = [_run(tmp_path, "km", seed, 0.4) for seed in (1, 2, 3)] + [_run(tmp_path, "soft", seed, 0.2) for seed in (2, 3, 4, 10)]
    printed = write_report(runs, tmp_path / "report")
    said = "soft against km: without a partner, and so in no difference: seeds 4, 10 of soft; seed 1 of km (WER %)."
    assert printed.splitlines()[-1] == said and all(said in text for text in _written(tmp_path))
    (comparison,) = _results(tmp_path)["comparisons"]
    assert comparison["seeds"] == ["2", "3"]
    assert len(_results(tmp_path)["over_seeds"][0]["systems"][1]["values"]) == 4, "the mean is over all seeds"


def test_scores_on_other_utterances_are_left_out_by_seed(tmp_path: Path) -> None:
    runs = [_run(tmp_path, "km", seed, 0.4) for seed in (1, 2, 3)]
    runs += [_run(tmp_path, "soft", seed, 0.2, ids="v" if seed == 3 else "u") for seed in (1, 2, 3)]
    printed = write_report(runs, tmp_path / "report")
    assert "over 2 seeds and 12 speakers" in printed and "in no difference: seed 3 of soft; seed 3 of km (WER %)." in printed


def test_one_seed_in_common_is_one_seed(tmp_path: Path) -> None:
    runs = [_run(tmp_path, "km", seed, 0.4) for seed in (1, 2)] + [_run(tmp_path, "soft", seed, 0.1) for seed in (2, 3)]
    lines = write_report(runs, tmp_path / "report").splitlines()
    assert lines[-2].startswith("soft, seed 2 against km, seed 2: -") and lines[-2].endswith(f"{ONE_SEED}.")
    assert lines[-1].endswith("seed 3 of soft; seed 1 of km (WER %).")


def test_no_seed_in_common_is_not_comparable(tmp_path: Path) -> None:
    runs = [_run(tmp_path, "km", seed, 0.4) for seed in (1, 2)] + [_run(tmp_path, "soft", 3, 0.1)]
    lines = write_report(runs, tmp_path / "report").splitlines()
    assert lines[-2].startswith("soft against km: not comparable") and lines[-1].endswith("seed 3 of soft; seeds 1, 2 of km (WER %).")


@pytest.mark.parametrize("again", [1, 1.0, "1", "01"])
def test_a_seed_that_a_system_has_twice_is_refused_by_both_folders(tmp_path: Path, again: Any) -> None:
    runs = [_run(tmp_path / "a", "km", 1, 0.4), _run(tmp_path / "b", "km", again, 0.3)]
    with pytest.raises(SoftHubertError, match=r"a/km-1 and \S+b/km-\S+: two runs of 'km' with seed 1; give each run its own seed") as found:
        write_report(runs, tmp_path / "report")
    assert "\n" not in str(found.value)


def test_a_run_that_does_not_say_its_seed_is_refused_where_there_are_several(tmp_path: Path) -> None:
    runs = [_run(tmp_path, "km", 1, 0.4), _run(tmp_path, "km", None, 0.3)]
    with pytest.raises(SoftHubertError, match=r"km-None/experiment\.json: expected a seed, because 'km' has 2 runs"):
        write_report(runs, tmp_path / "report")
    other = _run(tmp_path / "again", "km", None, 0.3)
    with pytest.raises(SoftHubertError, match=r"km-None and \S+again/km-None: two runs of 'km' with no seed"):
        write_report([runs[1], other], tmp_path / "report")


def test_probing_accuracy_and_label_quality_get_the_same_table(tmp_path: Path) -> None:
    accuracies = {"km": (0.50, 0.52, 0.51), "soft": (0.60, 0.63, 0.62)}
    runs = []
    for system, values in accuracies.items():
        for seed, value in enumerate(values, start=1):
            counts = "hard" if system == "km" else "argmax"
            runs.append(_run(tmp_path, system, seed, 0.3, accuracies=(value, 0.9), purity=value, counts=counts))
    write_report(runs, tmp_path / "report")
    tables = {table["measure"]: table["systems"] for table in _results(tmp_path)["over_seeds"]}
    assert list(tables) == ["WER %", "probing accuracy %, chosen layer", "PNMI", "phone purity", "cluster purity"]
    expected = stats.ttest_rel(accuracies["soft"], accuracies["km"]).pvalue
    for name, corrected in (("probing accuracy %, chosen layer", expected), ("PNMI", 3 * expected)):
        _, soft = tables[name]
        assert soft["mean"] == pytest.approx(np.mean(accuracies["soft"])), "of the layer that was chosen, not of the best on the test part"
        assert soft["difference"]["p_value"] == pytest.approx(expected) and soft["difference"]["p_holm"] == pytest.approx(corrected)
    markdown = _written(tmp_path)[0]
    assert "| probing accuracy %, chosen layer | seeds | mean |" in markdown and "| PNMI | seeds | mean |" in markdown


def test_labels_at_another_rate_have_a_table_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Averaged pairs of frames agree better with phones than single ones, so a difference would speak of the rate."""
    drawn: List[Figure] = []
    monkeypatch.setattr(seed_figure, "svg_element", lambda figure, title: drawn.append(figure) or svg_element(figure, title))
    runs = []
    for system, rate in (("km", 100.0), ("soft", 100.0), ("smoothed", 50.0), ("old", None)):
        for seed in (1, 2):
            run = _run(tmp_path, system, seed, 0.3, purity=0.5 + seed / 100, counts="argmax")
            quality = json.loads((run / "quality.json").read_text())
            (run / "quality.json").write_text(json.dumps({**quality, "label_rate": rate} if rate else quality))
            runs.append(run)
    write_report(runs, tmp_path / "report")
    tables = {table["measure"]: table["systems"] for table in _results(tmp_path)["over_seeds"]}
    shown = {title: [row["system"] for row in rows] for title, rows in tables.items() if title.startswith("PNMI")}
    assert shown == {
        "PNMI, labels at 100 Hz": ["km", "soft"],
        "PNMI, labels at 50 Hz": ["smoothed"],
        "PNMI, labels at an unknown rate": ["old"],
    }
    rows = {panel.get_xlabel().replace("\n", " "): [label.get_text() for label in panel.get_yticklabels()] for panel in drawn[0].axes}
    assert list(rows) == list(tables) and rows["WER %"] == ["km", "soft", "smoothed", "old"]
    assert rows["PNMI, labels at 50 Hz"] == ["smoothed"], "a line of panels has the systems that are in it"
    assert max(len(line) for panel in drawn[0].axes for line in panel.get_xlabel().split("\n")) <= 32, "no label runs into the next one"
    compared = [row["system"] for rows in tables.values() for row in rows if "difference" in row and row["system"] != "soft"]
    assert set(compared) == {"smoothed", "old"}, "by word error rates"
    assert [("difference" in row) for row in tables["PNMI, labels at 50 Hz"]] == [False]
    write_report(runs, tmp_path / "report", compare=[("smoothed", "soft")])
    pairs = {table["measure"]: table["differences"] for table in _results(tmp_path)["over_seeds"]}
    assert all(pair["difference"] is None for title, found in pairs.items() for pair in found if title.startswith("PNMI"))
    assert "| WER %: pair |" in _written(tmp_path)[0] and "PNMI, labels at 50 Hz: pair" not in _written(tmp_path)[0]
    assert "<td>50</td>" in _written(tmp_path)[1]


def test_without_the_chosen_layer_the_best_one_is_shown(tmp_path: Path) -> None:
    runs = [_run(tmp_path, "km", seed, 0.3, accuracies=(0.5, 0.7)) for seed in (1, 2)]
    for run in runs:
        layers = json.loads((run / "layers.json").read_text())
        (run / "layers.json").write_text(json.dumps({"layers": layers["layers"]}))
    write_report(runs, tmp_path / "report")
    assert _results(tmp_path)["over_seeds"][1]["systems"][0]["mean"] == pytest.approx(0.7)


def test_the_figure_has_a_dot_for_every_seed_and_a_mean_with_its_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: List[Figure] = []
    monkeypatch.setattr(seed_figure, "svg_element", lambda figure, title: drawn.append(figure) or svg_element(figure, title))
    write_report([_run(tmp_path, system, seed, 0.3) for system in ("km <1>", "soft") for seed in range(4)], tmp_path / "report")
    panel = drawn[0].axes[0]
    dots = [line for line in panel.lines if len(line.get_xdata()) == 4]
    for line, system in zip(dots, _results(tmp_path)["over_seeds"][0]["systems"]):
        assert sorted(line.get_xdata()) == pytest.approx(sorted(100 * value for value in system["values"].values()))
    assert len(dots) == 2 and len(panel.containers) == 2
    assert [label.get_text() for label in panel.get_yticklabels()] == ["km <1>", "soft"]
    page = _written(tmp_path)[1]
    assert "<h2>A dot per seed</h2>" in page and "km &lt;1&gt;" in page and "<1>" not in page


def test_a_report_of_many_systems_and_seeds_has_one_line_for_each_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: Dict[str, Figure] = {}
    monkeypatch.setattr(figures, "svg_element", lambda figure, title: drawn.setdefault(title, figure) and svg_element(figure, title))
    systems = [f"soft GMM of the system called {number}" for number in range(12)]
    runs = []
    for place, system in enumerate(systems):
        for seed in (1, 2, 3):
            runs.append(_run(tmp_path, system, seed, 0.3, accuracies=(0.3, 0.4 + seed / 100 + place / 1000), purity=0.5))
            (runs[-1] / "timings.tsv").write_text("".join(f"stage-{name}\t{60 * seed}\n" for name in range(12)))
            (runs[-1] / "pretrain").mkdir()
            records = [{"kl_masked": str(seed), "accuracy_masked": "0.1", "num_updates": str(update)} for update in (100, 100 * seed)]
            lines = [f"[2026-01-01 10:00:00,000][train_inner][INFO] - {json.dumps(record)}\n" for record in records]
            (runs[-1] / "pretrain" / "hydra_train.log").write_text("".join(lines))
            (runs[-1] / "finetune").mkdir()
            record = {"valid_wer": "99", "valid_uer": str(50 + seed), "valid_num_updates": "100"}
            line = f"[2026-01-01 10:00:00,000][valid][INFO] - {json.dumps(record)}\n"
            (runs[-1] / "finetune" / "hydra_train.log").write_text(line)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of axes that have no room beside their legend
        write_report(runs, tmp_path / "report")
    accuracy, _ = drawn["Layers"].axes
    assert [list(each.lines[0].get_ydata()) for each in accuracy.containers] == [
        pytest.approx([30.0, 42.0 + place / 10]) for place in range(len(systems))
    ]
    divergence, _ = drawn["Pretraining"].axes
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in divergence.lines] == [([100.0], [2.0])] * 12, (
        "where all seeds have a value"
    )
    assert len({(line.get_color(), line.get_linestyle()) for line in divergence.lines}) == 12
    shown = {axes.get_ylabel(): {tuple(line.get_ydata()) for line in axes.lines} for axes in drawn["Fine-tuning"].axes}
    assert shown == {"word errors (%)": {(99.0,)}, "letter or piece errors (%)": {(52.0,)}}
    assert [sum(bar.get_width() for bar in drawn["Time"].axes[0].patches[12 * row : 12 * row + 12]) for row in range(12)] == [
        pytest.approx(24.0)
    ] * 12
    for figure in drawn.values():
        (legend,) = figure.legends
        box, whole = legend.get_window_extent(), figure.bbox
        assert box.x0 >= whole.x0 and box.x1 <= whole.x1, "the legend is cut off"
    page = _written(tmp_path)[1]
    assert "<h1>SoftHuBERT: 12 systems, 36 runs</h1>" in page and "Word error rate</h2>" not in page
    assert page.count('<th scope="row">seed (differs)</th>') == 1 and page.count("<td>1, 2, 3</td>") == 12
    assert page.index("A dot per seed") < page.index("Single runs") < page.index("Label quality")


def test_systems_with_one_seed_stand_beside_systems_with_several(tmp_path: Path) -> None:
    runs = [_run(tmp_path, "km", seed, 0.4) for seed in (1, 2, 3)]
    runs += [_run(tmp_path, "soft", seed, 0.2) for seed in (1, 2, 3)] + [_run(tmp_path, "argmax", 2, 0.3)]
    lines = write_report(runs, tmp_path / "report").splitlines()
    assert (
        lines[-3].endswith("fewer errors.") and lines[-2].startswith("argmax against km, seed 2: ") and lines[-2].endswith(f"{ONE_SEED}.")
    )
    assert lines[-1].endswith("seeds 1, 3 of km (WER %).")
    assert any(line.startswith("| argmax | 1 |") and "| – | – |" in line for line in _written(tmp_path)[0].splitlines())


def test_saved_runs_give_the_report_that_their_folders_give(tmp_path: Path) -> None:
    folders = [
        _run(tmp_path, system, seed, rate, accuracies=(0.3, 0.4 + seed / 100), purity=0.5 + seed / 100, sets=("a", "b"))
        for system, rate in (("km", 0.30), ("gmm", 0.28))
        for seed in (1, 2, 3)
    ]
    files = [folder.with_suffix(".json") for folder in folders]
    for folder, file in zip(folders, files):
        save_experiment(folder, file)
        assert file.stat().st_size < 4000
    printed = write_report(folders, tmp_path / "report")
    before = _results(tmp_path)
    for folder in folders:
        shutil.rmtree(folder)
    assert write_report(files, tmp_path / "report") == printed
    assert _results(tmp_path) == before
    # Sums over speakers are all that intervals need; utterances are kept where speakers are not known.
    assert len(json.loads(files[0].read_text())["scores"]["a"]["per_utterance"]["errors"]) == SPEAKERS


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
def test_runs_of_one_speaker_are_saved_with_their_utterances(seeds: Sequence[int], tmp_path: Path) -> None:
    folders = [_run(tmp_path, system, seed, rate, speakers=1) for system, rate in (("km", 0.30), ("gmm", 0.28)) for seed in seeds]
    files = [folder.with_suffix(".json") for folder in folders]
    for folder, file in zip(folders, files):
        save_experiment(folder, file)
    said = write_report(folders, tmp_path / "report")
    assert write_report(files, tmp_path / "report") == said and "own test set" not in said and "no difference" in said


def test_a_saved_run_is_paired_with_one_in_its_folder(tmp_path: Path) -> None:
    first, second = (_run(tmp_path, system, 1, rate) for system, rate in (("km", 0.5), ("gmm", 0.2)))
    said = write_report([first, second], tmp_path / "report")
    save_experiment(first, tmp_path / "km.json")
    assert write_report([tmp_path / "km.json", second], tmp_path / "report").splitlines()[-1] == said.splitlines()[-1]
    assert "this test set shows a difference" in said


def test_a_run_made_again_elsewhere_is_saved_the_same_but_for_its_seconds(tmp_path: Path) -> None:
    saved = []
    for place, speed in (("here", 100.0), ("there", 70.5)):
        folder = _run(tmp_path / place, "gmm", 1, 0.3, accuracies=(0.3, 0.4), purity=0.5)
        for name, key in (("labels", "file"), ("quality", "labels"), ("layers", "features")):
            file = folder / f"{name}.json"
            file.write_text(json.dumps({**(json.loads(file.read_text()) if file.exists() else {}), key: f"{folder}/{name}"}))
        (folder / "timings.tsv").write_text(f"pretrain\t{speed:.0f}\n")
        (folder / "pretrain").mkdir()
        record = {"epoch": 1, "valid_loss": "2.5", "valid_num_updates": "250", "valid_wps": f"{speed}"}
        (folder / "pretrain" / "hydra_train.log").write_text(f"[2026-01-01 10:00:00,000][valid][INFO] - {json.dumps(record)}\n")
        save_experiment(folder, tmp_path / f"{place}.json")
        saved.append(json.loads((tmp_path / f"{place}.json").read_text()))
    assert saved[0].pop("stages") == [["pretrain", 100.0]] and saved[1].pop("stages") == [["pretrain", 70.0]]
    assert saved[0] == saved[1] and len(saved[0]["pretraining"]) == 1 and saved[0]["layers"]["layers"] and str(tmp_path) not in str(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "something"}, "not an experiment"),
        ({"scores": {"test": {"wer": 0.5}}}, "low"),
        ({"stages": [["mfcc"]]}, "damaged"),
        ({"layers": []}, "damaged"),
        ({"labels": {"perplexity": "4"}}, "perplexity"),
        ({"more": 1}, "damaged"),
        ({"name": None}, "name is 'None', expected text"),
        ({"settings": None}, "settings is"),
        ({"pretraining": None}, "pretraining is"),
        ({"pretraining": [None]}, r"pretraining\[0\] is"),
        ({"finetuning": [{"wer": 3.0}]}, r"finetuning\[0\] is .*num_updates"),
        ({"pretraining": [{"num_updates": "many"}]}, r"pretraining\[0\] is"),
        ({"stages": None}, "damaged"),
    ],
)
def test_a_damaged_saved_run_is_refused_in_one_line(change: Dict[str, Any], message: str, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    save_experiment(_run(tmp_path, "km", 1, 0.3), file)
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(SoftHubertError, match=rf"run\.json: .*{message}"):
        write_report([file], tmp_path / "report")


def test_the_same_runs_give_the_same_report(tmp_path: Path) -> None:
    runs = [_run(tmp_path, system, seed, 0.3) for system in ("km", "soft") for seed in (1, 2, 3)]
    for name in ("a", "b"):
        write_report(runs, tmp_path / name)
    for name in ("index.html", "results.json", "results.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
