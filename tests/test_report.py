"""The report: its table, page and comparisons show what the experiment folders hold, and bad folders are refused."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Dict, List, Optional
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest
from matplotlib.figure import Figure

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.report import figures as report_figures
from softhubert_plugin.report import write_report
from softhubert_plugin.report.experiment import read_experiment, read_log
from softhubert_plugin.report.figures import figures
from softhubert_plugin.report.measures import measures
from softhubert_plugin.report.over_seeds import seed_tables
from softhubert_plugin.report.seed_figure import seed_figure
from softhubert_plugin.report.systems import group_by_system
from softhubert_plugin.report.table import table_header
from softhubert_plugin.report.verdict import ONE_SEED
from softhubert_plugin.scoring.score import score_files

VALID = '[2026-01-01 00:00:00,000][valid][INFO] - {"valid_loss": "%s", "valid_accuracy_masked": "%s", "valid_num_updates": "%d"}\n'
TRAIN = '[2026-01-01 00:00:00,000][train_inner][INFO] - {"kl_masked": "%s", "accuracy_masked": "0.1", "num_updates": "%d"}\n'


def _experiment(folder: Path, name: str, hypotheses: List[str], **settings: Any) -> Path:
    (folder / "pretrain").mkdir(parents=True)
    (folder / "experiment.json").write_text(json.dumps({"name": name, **settings}))
    (folder / "labels.json").write_text(json.dumps({"perplexity": 3.5, "entropy_histogram": {"edges": [0, 0.5, 1], "counts": [3, 5]}}))
    (folder / "timings.tsv").write_text("corpus\t60\npretrain\t120\n")
    log = TRAIN % ("2.5", 10) + VALID % ("2.0", "0.25", 10) + TRAIN % ("1.5", 20) + VALID % ("1.0", "0.5", 20)
    (folder / "pretrain" / "hydra_train.log").write_text(log)
    references = ["ONE TWO", "THREE FOUR FIVE", "SIX"]
    for kind, lines in (("hypo", hypotheses), ("ref", references)):
        (folder / kind).write_text("".join(f"{line} (utt{number})\n" for number, line in enumerate(lines)))
    score_files(folder / "hypo", folder / "ref").save(folder / "score.json")
    return folder


@pytest.fixture()
def pair(tmp_path: Path) -> List[Path]:
    """Two experiment folders: hard k-means with two errors, and soft GMM with one."""
    return [
        _experiment(tmp_path / "km", "hard <k-means>", ["ONE", "THREE FOUR", "SIX"], seed=1, target="km"),
        _experiment(tmp_path / "gmm", "soft GMM", ["ONE TWO", "THREE FOUR", "SIX"], seed=1, target="gmm"),
    ]


def test_the_table_holds_what_the_folders_say(pair: List[Path], tmp_path: Path) -> None:
    printed = write_report(pair, tmp_path / "report").splitlines()
    assert re.split(r"\s{2,}", printed[0]) == list(table_header([read_experiment(pair[0])]))
    assert printed[1].startswith("hard <k-means>") and re.search(r"\b33\.33\b.*\b50\.0\b.*\b3\.50\b.*–.*20 \+ –\s+3\.0$", printed[1])
    assert "16.67" in printed[2]
    assert printed[3].startswith("soft GMM against hard <k-means>: -16.67 points of WER") and printed[3].endswith(
        f"shows no difference; {ONE_SEED}."
    )
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    assert [system["wer"] for system in results["systems"]] == pytest.approx([2 / 6, 1 / 6])
    assert results["comparisons"][0]["difference"] == pytest.approx(-1 / 6)
    assert "| soft GMM | 16.67 |" in (tmp_path / "report" / "results.md").read_text()


def test_the_page_is_whole_escaped_and_self_contained(pair: List[Path], tmp_path: Path) -> None:
    write_report(pair, tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    open_tags: List[str] = []

    class Check(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            if tag not in ("meta", "br"):
                open_tags.append(tag)
            sources = [value for name, value in attrs if name in ("src", "href", "xlink:href")]
            assert all(value.startswith("#") for value in sources), sources

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Check().feed(page)
    assert not open_tags
    assert page.count("<svg") == 4  # one figure fewer, because there is no fine-tuning log
    assert "hard &lt;k-means&gt;" in page and "<k-means>" not in page
    assert "target (differs)" in page and "seed (differs)" not in page


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize(
    ("name", "shown"),
    [("cost $x^2$ of $", "cost $x^2$ of $"), (r"$\frac$", r"$\frac$"), ("bell \x07", "bell \ufffd"), ("a\udc80b", "a\ufffdb")],
)
def test_figures_show_any_name_as_it_is(name: str, shown: str, seeds: int, tmp_path: Path) -> None:
    runs = [
        _experiment(tmp_path / f"{place}-{seed}", each, ["ONE", "THREE FOUR", "SIX"], seed=seed, target="gmm")
        for place, each in enumerate(("plain", name))
        for seed in range(1, seeds + 1)
    ]
    systems = group_by_system([read_experiment(run) for run in runs])
    drawn = [svg for _, _, svg in figures(systems)]
    if seeds > 1:
        experiments = [run for system in systems for run in system.runs.values()]
        drawn.append(seed_figure(seed_tables(systems, list(measures(experiments)), []))[2])
    assert drawn
    for svg in drawn:
        texts = ["".join(element.itertext()) for element in fromstring(svg).iter() if element.tag.endswith("text")]
        assert any(text.startswith(shown) for text in texts), texts


def test_entropies_of_targets_add_up_and_those_at_other_rates_say_so(
    pair: List[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target that spreads evenly has one entropy in all frames: as a density it would hide the others."""
    drawn: Dict[str, Figure] = {}
    monkeypatch.setattr(report_figures, "svg_element", lambda figure, title: drawn.setdefault(title, figure) and "")

    def legend(*rates: Optional[float]) -> List[str]:
        for run, rate in zip(pair, rates):
            labels = json.loads((run / "labels.json").read_text())
            (run / "labels.json").write_text(json.dumps({**labels, "label_rate": rate}))
        drawn.clear()
        figures(group_by_system([read_experiment(run) for run in pair]))
        return [text.get_text() for text in drawn["Uncertainty of the targets"].legends[0].get_texts()]

    assert legend(100, 100) == ["hard <k-means>", "soft GMM"]
    assert [list(line.get_ydata()) for line in drawn["Uncertainty of the targets"].axes[0].lines] == [[0, 37.5, 100]] * 2
    assert legend(100, 50) == ["hard <k-means>, labels at 100 Hz", "soft GMM, labels at 50 Hz"]
    assert legend(None, 50)[0] == "hard <k-means>, labels at an unknown rate"
    with pytest.raises(SoftHubertError, match=r"labels\.json: label_rate is 'fast'"):
        legend("fast", 50)  # type: ignore[arg-type]


def test_the_same_experiments_give_the_same_report(pair: List[Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report(pair, tmp_path / name)
    for name in ("index.html", "results.json", "results.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_is_missing_is_shown_as_missing(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "experiment.json").write_text("{}")
    printed = write_report([tmp_path / "one", tmp_path / "two"], tmp_path / "report").splitlines()
    assert printed[1].split() == ["one", *"–––––––+––"]
    assert printed[3] == "two against one: not comparable, there are no scores on the same utterances."


def test_scores_on_other_utterances_are_not_compared(pair: List[Path], tmp_path: Path) -> None:
    score = json.loads((pair[1] / "score.json").read_text())
    score["per_utterance"]["id"][0] = "another"
    (pair[1] / "score.json").write_text(json.dumps(score))
    assert "not comparable" in write_report(pair, tmp_path / "report")


def test_utterances_are_paired_by_id_not_by_order(pair: List[Path], tmp_path: Path) -> None:
    before = write_report(pair, tmp_path / "report")
    score = json.loads((pair[1] / "score.json").read_text())
    score["per_utterance"] = {key: values[::-1] for key, values in score["per_utterance"].items()}
    (pair[1] / "score.json").write_text(json.dumps(score))
    assert write_report(pair, tmp_path / "report") == before


def test_folders_that_are_not_experiments_and_repeated_names_are_refused(pair: List[Path], tmp_path: Path) -> None:
    with pytest.raises(SoftHubertError, match=r"nothing/experiment\.json.*at least"):
        write_report([tmp_path / "nothing"], tmp_path / "report")
    with pytest.raises(SoftHubertError, match=r"/gmm and \S+/gmm: two runs of 'soft GMM' with seed 1; give each run its own seed"):
        write_report([pair[1], pair[1]], tmp_path / "report")
    for system, folder in zip("ab", pair):
        (folder / "experiment.json").write_text(json.dumps({"name": "soft GMM", "system": system}))
    with pytest.raises(SoftHubertError, match="2 experiments are called 'soft GMM'"):
        write_report(pair, tmp_path / "report")
    (pair[0] / "timings.tsv").write_text("corpus 60\n")
    with pytest.raises(SoftHubertError, match="line 1: expected a stage, a tab and seconds"):
        read_experiment(pair[0])


def test_incomplete_scores_are_refused_by_name(pair: List[Path], tmp_path: Path) -> None:
    (pair[0] / "score.json").write_text('{"wer": 0.5}')
    with pytest.raises(SoftHubertError, match=r"km/score\.json: does not contain low, high, cer, per_utterance; write it with"):
        write_report(pair, tmp_path / "report")


def test_runs_of_one_system_are_distinguished_by_their_seeds(pair: List[Path], tmp_path: Path) -> None:
    for seed, folder in enumerate(pair, start=1):
        (folder / "experiment.json").write_text(json.dumps({"name": "soft", "seed": seed}))
    printed = write_report(pair, tmp_path / "report").splitlines()
    assert [line[:12] for line in printed[1:3]] == ["soft, seed 1", "soft, seed 2"]
    assert not any("against" in line for line in printed), "the seeds of one system are not compared with each other"
    assert "| soft | 2 | 25.00 | 0.00 to 130.89 |" in (tmp_path / "report" / "results.md").read_text()


def test_a_log_of_a_resumed_run_counts_each_update_once_and_the_later_record(tmp_path: Path) -> None:
    path = tmp_path / "hydra_train.log"
    path.write_text(TRAIN % ("9", 10) + TRAIN % ("8", 20) + TRAIN % ("7", 10) + '[x][valid][INFO] - {"valid_loss": "1')
    log = read_log(path)
    assert [(record["num_updates"], record["kl_masked"]) for record in log.train] == [(10, 7), (20, 8)]
    assert log.valid == [] and log.updates == 20
    assert read_log(tmp_path / "missing").updates is None


def test_a_folder_in_the_place_of_a_log_is_refused(pair: List[Path], tmp_path: Path) -> None:
    (pair[1] / "finetune" / "hydra_train.log").mkdir(parents=True)
    with pytest.raises(SoftHubertError, match=r"finetune/hydra_train\.log: a folder; give a file in it"):
        write_report(pair, tmp_path / "report")


def test_an_interval_without_width_is_no_difference(tmp_path: Path) -> None:
    """Two utterances of the same length, each with one error more: no spread, and far from enough to tell."""
    said = [_experiment(tmp_path / name, name, [first, "THREE FOUR FIVE", "SIX"]) for name, first in (("one", "ONE"), ("two", "ONE TWO"))]
    for folder in said:
        score = json.loads((folder / "score.json").read_text())
        errors = [1, 1] if folder.name == "one" else [0, 0]
        score.update(wer=sum(errors) / 12, cer=None, per_utterance={"id": ["a", "b"], "errors": errors, "words": [6, 6]})
        (folder / "score.json").write_text(json.dumps(score))
    assert "-16.67 to -16.67, p = 1" in write_report(said, tmp_path / "report")
    assert "this test set shows no difference" in write_report(said, tmp_path / "report")


def test_a_clear_difference_is_reported_as_a_difference(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = np.full(200, 5)
    folders = []
    for name, rate in (("worse", 0.5), ("better", 0.1)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "experiment.json").write_text("{}")
        errors = rng.binomial(5, rate, 200)
        each = {"id": [f"u{number}" for number in range(200)], "errors": errors.tolist(), "words": words.tolist()}
        score = {"wer": errors.sum() / 1000, "low": 0.0, "high": 1.0, "cer": 0.0, "per_utterance": each}
        (folder / "score.json").write_text(json.dumps(score))
        folders.append(folder)
    assert write_report(folders, tmp_path / "report").endswith(f"this test set shows a difference; {ONE_SEED}.")


@pytest.mark.parametrize("split", ["valid", "dev-other", "valid-200", "my.split_2", "train-part"])
def test_the_first_split_that_is_validated_on_counts_whatever_its_name(split: str, tmp_path: Path) -> None:
    path = tmp_path / "hydra_train.log"
    epoch = TRAIN.replace("train_inner", "train") % ("7", 30)
    lines = [VALID.replace("valid", name) % (loss, "0.5", update) for update in (10, 20) for name, loss in ((split, update), ("zz", 99))]
    path.write_text(TRAIN % ("9", 10) + "".join(lines) + epoch + '[x][train_inner][INFO] - {"no": 1}\n[x][other][INFO] - {}\n')
    log = read_log(path)
    assert [record["loss"] for record in log.valid] == [10, 20] and log.valid[0]["accuracy_masked"] == 0.5
    assert [record["num_updates"] for record in log.train] == [10]


def test_several_test_sets_seeds_quality_layers_and_configurations_are_shown(pair: List[Path], tmp_path: Path) -> None:
    measure = {"value": 0.5, "low": 0.4, "high": 0.6}
    for seed, folder in enumerate(pair, start=1):
        (folder / "scores").mkdir()
        (folder / "scores" / "test-other.json").write_bytes((pair[0] / "score.json").read_bytes())
        (folder / "score.json").rename(folder / "scores" / "test-clean.json")
        (folder / "score.json").write_bytes((folder / "scores" / "test-clean.json").read_bytes())
        settings = {"name": f"soft, seed {seed}", "system": "soft", "seed": seed, "hours": 960}
        (folder / "experiment.json").write_text(json.dumps(settings))
        purity = {"phone_purity": measure, "cluster_purity": measure, "pnmi": measure}
        (folder / "quality.json").write_text(json.dumps({"argmax": purity, "expected": purity}))
        rows = [{"layer": layer, "accuracy": measure, "pnmi": measure} for layer in (1, 2)]
        (folder / "layers.json").write_text(json.dumps({"layer": 2, "layers": rows, "mfcc": rows[0]}))
        (folder / "pretrain" / ".hydra").mkdir()
        (folder / "pretrain" / ".hydra" / "config.yaml").write_text(f"common: {{seed: {seed}, fp16: true}}\ntask: {{data: /exp/{seed}}}\n")
        (folder / "commands.txt").write_text("softhubert features mfcc <all>\n")
    printed = write_report(pair, tmp_path / "report")
    assert "test-clean WER %" in printed and "test-other 95 % interval" in printed and "  960  " in printed
    text = (tmp_path / "report" / "results.md").read_text()
    assert "| test-clean WER % | seeds |" in text and "| soft | 2 | 25.00 | 0.00 to 130.89 |" in text
    assert "| test-other WER % | seeds |" in text and "| soft | 2 | 33.33 | 33.33 to 33.33 |" in text
    for measure, value in (("probing accuracy %, chosen layer", "50.00"), ("PNMI", "0.5000"), ("phone purity, expected counts", "0.5000")):
        assert f"| {measure} | seeds |" in text and f"| soft | 2 | {value} | {value} to {value} |" in text
    page = (tmp_path / "report" / "index.html").read_text()
    assert "pretrain.common.seed" in page and "pretrain.common.fp16" not in page and "pretrain.task.data" not in page
    assert page.count("0.500 (0.400 to 0.600)") == 12 and "softhubert features mfcc &lt;all&gt;" in page
    assert "<h2>Layers</h2>" in page
    for system, folder in zip(("km", "soft"), pair):
        (folder / "experiment.json").write_text(json.dumps({"name": system}))
    printed = write_report(pair, tmp_path / "report")
    assert "soft against km on test-clean: -16.67 points" in printed and "on test-other: +0.00 points" in printed
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    assert [comparison["on"] for comparison in results["comparisons"]] == ["test-clean", "test-other"]
