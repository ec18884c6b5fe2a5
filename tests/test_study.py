"""The study: README's table says what the report of its runs says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, List

import pytest

REPOSITORY = Path(__file__).parents[1]
REPORT = REPOSITORY / "examples" / "study" / "report" / "results.json"
COLUMNS = {
    "phone accuracy %": "probing accuracy %, chosen layer",
    "CER %": "test-clean CER %",
    "WER %, trigram": "test-clean-lm WER %",
}
# How docs/results.md calls two systems: the report that compares them, and their names there, the first one first.
PAIRS = {
    "A: soft − argmax": ("", "hard GMM (argmax)", "soft GMM"),
    "B: argmax − k-means": ("", "hard k-means", "hard GMM (argmax)"),
    "C: Markov soft − Markov argmax": ("", "hard GMM (argmax), Markov (sticky)", "soft GMM, Markov (sticky)"),
    "D: soft − smoothed": ("", "GMM argmax, smoothed", "soft GMM"),
    "E: soft − shuffled": ("", "soft GMM, shuffled", "soft GMM"),
    "soft at perplexity 2 − soft at 4": ("others", "soft GMM", "soft GMM, perplexity 2"),
    "soft at perplexity 8 − soft at 4": ("others", "soft GMM", "soft GMM, perplexity 8"),
    "soft, first of two frames − soft, their mean": ("others", "soft GMM", "soft GMM, first of two frames"),
    "soft, first of two frames − argmax": ("others", "hard GMM (argmax)", "soft GMM, first of two frames"),
    "soft k-means − k-means": ("others", "hard k-means", "soft k-means"),
    "Markov soft at perplexity 2 − at 4": ("others", "soft GMM, Markov (sticky)", "soft GMM, Markov (sticky), perplexity 2"),
}


def _table(results: Dict[str, Any]) -> List[str]:
    """The rows of README's table: means over seeds with 95 % intervals."""
    tables = {table["measure"]: {row["system"]: row for row in table["systems"]} for table in results["over_seeds"]}
    systems = list(tables[COLUMNS["CER %"]])
    rows = []
    for system in systems:
        found = [tables[title][system] for title in COLUMNS.values()]
        cells = [f"{100 * row['mean']:.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f})" for row in found]
        rows.append(f"| {' | '.join([system, str(len(found[0]['values'])), *cells])} |")
    return rows


def test_every_number_of_readmes_table_comes_from_the_reports_results() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    heading = f"| targets | seeds | {' | '.join(COLUMNS)} |"
    shown = re.search(re.escape(heading) + r"\n\|[-:|]+\|\n((\|.*\n)*)", readme)
    assert (shown is not None) == REPORT.exists(), "README has the table when there is a report"
    if shown is not None:
        assert shown.group(1).splitlines() == _table(json.loads(REPORT.read_text(encoding="utf-8")))


def test_every_value_of_the_report_is_that_of_a_saved_run() -> None:
    tables = {table["measure"]: table["systems"] for table in json.loads(REPORT.read_text(encoding="utf-8"))["over_seeds"]}
    saved = [json.loads(path.read_text(encoding="utf-8")) for path in (REPORT.parents[1] / "results").glob("*.json")]
    runs = {(run["name"], str(run["settings"]["seed"])): run for run in saved}
    compared = 0
    for title, value in (
        ("test-clean CER %", lambda run: run["scores"]["test-clean"]["cer"]),
        ("test-clean-lm WER %", lambda run: run["scores"]["test-clean-lm"]["wer"]),
        ("probing accuracy %, chosen layer", _chosen),
    ):
        for row in tables[title]:
            assert row["values"] == {seed: value(runs[row["system"], seed]) for seed in row["values"]}
            compared += len(row["values"])
    assert compared == 3 * (7 * 10 + 5 * 5), "seven systems with ten seeds, five with five"


@pytest.mark.parametrize("pair", PAIRS)
def test_every_difference_in_the_documentation_comes_from_a_report(pair: str) -> None:
    report, first, second = PAIRS[pair]
    tables = json.loads((REPORT.parent / report / "results.json").read_text(encoding="utf-8"))["over_seeds"]
    expected, p_values = [], []
    for measure in ("probing accuracy %, chosen layer", "test-clean CER %", "probing accuracy of speech %, chosen layer"):
        (table,) = [table for table in tables if table["measure"] == measure]
        (found,) = [row for row in table["differences"] if (row["first"], row["second"]) == (first, second)]
        difference, crossed = found["difference"], found["by_seeds_and_speakers"] or {}
        ends = [crossed.get(end, difference[end]) for end in ("low", "high")]
        mean, low, high = (f"{100 * value:+.1f}".replace("-", "−") for value in (difference["mean"], *ends))
        expected.append(f"{mean} ({low} to {high})")
        p_values.append(max(difference["p_holm"], crossed.get("p_holm", 0)))
    lines = (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8").replace("**", "").splitlines()
    (row,) = [line for line in lines if line.startswith(f"| {pair} |")]
    assert [cell for cell in row.split(" | ") if "(" in cell] == [*expected[:2], f"{expected[2]} |"]
    if not report:
        assert [float(row.split(" | ")[place]) for place in (2, 4)] == pytest.approx(p_values[:2], rel=0.1)


def _chosen(run: Dict[str, Any]) -> float:
    accuracies = {row["layer"]: row["accuracy"]["value"] for row in run["layers"]["layers"]}
    return float(accuracies[run["layers"]["layer"]])
