"""The study: README's table says what the report of its runs says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, List

REPOSITORY = Path(__file__).parents[1]
REPORT = REPOSITORY / "examples" / "study" / "report" / "results.json"
COLUMNS = {
    "phone accuracy %": "probing accuracy %, chosen layer",
    "CER %": "test-clean CER %",
    "WER %, trigram": "test-clean-lm WER %",
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
    assert compared >= 3 * 35, "seven systems with five seeds"


def _chosen(run: Dict[str, Any]) -> float:
    accuracies = {row["layer"]: row["accuracy"]["value"] for row in run["layers"]["layers"]}
    return float(accuracies[run["layers"]["layer"]])
