"""The table of results, and tables for the terminal, Markdown and HTML."""

from __future__ import annotations

import html
from typing import Dict, List, Optional, Sequence, Tuple

from softhubert_plugin.report.experiment import Experiment

MISSING = "–"
QUALITY_COLUMNS = ("", "labels a second", "counts", "phone purity", "cluster purity", "PNMI")
_MEASURES = ("WER %", "95 % interval", "CER %")
_OTHERS = ("masked accuracy %", "target perplexity", "hours of speech", "updates", "minutes")


def test_sets(experiments: Sequence[Experiment]) -> List[str]:
    """Return the names of all test sets, in order of first appearance."""
    return list(dict.fromkeys(name for experiment in experiments for name in experiment.scores)) or ["test"]


def table_header(experiments: Sequence[Experiment]) -> Tuple[str, ...]:
    """Return the column headings. If there are several test sets, the headings of scores name the set."""
    sets = test_sets(experiments)
    measures = [measure if len(sets) == 1 else f"{name} {measure}" for name in sets for measure in _MEASURES]
    return ("system", *measures, *_OTHERS)


def rows(experiments: Sequence[Experiment]) -> List[Tuple[str, ...]]:
    """Return one row of text per experiment, with the columns of :func:`table_header`."""
    sets = test_sets(experiments)
    return [_row(experiment, sets) for experiment in experiments]


def _row(experiment: Experiment, sets: Sequence[str]) -> Tuple[str, ...]:
    measures: List[str] = []
    for name in sets:
        score = experiment.scores.get(name, {})
        interval = f"{100 * score['low']:.2f} to {100 * score['high']:.2f}" if score else MISSING
        measures += [_decimal(score.get("wer"), 100), interval, _decimal(score.get("cer"), 100)]
    updates = [log.updates for log in (experiment.pretraining, experiment.finetuning)]
    return (
        experiment.name,
        *measures,
        _decimal(experiment.masked_accuracy, 100, digits=1),
        _decimal(experiment.target_perplexity),
        str(experiment.settings.get("hours", MISSING)),
        " + ".join(MISSING if count is None else str(count) for count in updates),
        _decimal(experiment.seconds, 1 / 60, digits=1),
    )


def quality_rows(experiments: Sequence[Experiment]) -> List[List[str]]:
    """Return one or two rows of text per experiment whose labels were measured, with the columns of ``QUALITY_COLUMNS``.

    Hard labels have one row; soft labels have one for their argmax and one for expected counts.
    """
    found = []
    for experiment in experiments:
        rate = experiment.quality.get("label_rate")
        for kind in ("hard", "argmax", "expected"):
            measures = experiment.quality.get(kind)
            if measures:
                cells = [_interval(measures.get(key)) for key in ("phone_purity", "cluster_purity", "pnmi")]
                found.append([experiment.name, MISSING if rate is None else f"{rate:g}", kind, *cells])
    return found


def _interval(measure: Optional[Dict[str, float]]) -> str:
    return MISSING if not measure else f"{measure['value']:.3f} ({measure['low']:.3f} to {measure['high']:.3f})"


def terminal(columns: Sequence[str], table: Sequence[Tuple[str, ...]]) -> str:
    """Format a table for the terminal: the first column is aligned left, the others right."""
    lines = [columns, *table]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in lines
    )


def markdown(columns: Sequence[str], table: Sequence[Sequence[str]]) -> str:
    """Format a table in Markdown."""
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in (columns, rule, *table))


def html_table(columns: Sequence[str], table: Sequence[Sequence[str]]) -> str:
    """Format a table in HTML. Cells are escaped; the first column contains the rows' headings."""
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in columns)
    body = "".join(
        f'<tr><th scope="row">{html.escape(line[0])}</th>{"".join(f"<td>{html.escape(cell)}</td>" for cell in line[1:])}</tr>\n'
        for line in table
    )
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>'


def _decimal(value: Optional[float], factor: float = 1.0, digits: int = 2) -> str:
    return MISSING if value is None else f"{factor * value:.{digits}f}"
