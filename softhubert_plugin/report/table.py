"""The table of results, for a terminal, for Markdown and for HTML, and the paired comparison with the first system."""

from __future__ import annotations

import html
from typing import List, Optional, Sequence, Tuple

from softhubert_plugin.asr.statistics import Comparison
from softhubert_plugin.report.experiment import Experiment

MISSING = "–"
HEADER = ("system", "WER %", "95 % interval", "CER %", "masked accuracy %", "target perplexity", "updates", "minutes")


def rows(experiments: Sequence[Experiment]) -> List[Tuple[str, ...]]:
    """One row of text an experiment, under :data:`HEADER`."""
    return [_row(experiment) for experiment in experiments]


def _row(experiment: Experiment) -> Tuple[str, ...]:
    score = experiment.score or {}
    updates = [log.updates for log in (experiment.pretraining, experiment.finetuning)]
    return (
        experiment.name,
        _decimal(score.get("wer"), 100),
        f"{100 * score['low']:.2f} to {100 * score['high']:.2f}" if score else MISSING,
        _decimal(score.get("cer"), 100),
        _decimal(experiment.masked_accuracy, 100, digits=1),
        _decimal(experiment.target_perplexity),
        " + ".join(MISSING if count is None else str(count) for count in updates),
        _decimal(experiment.seconds, 1 / 60, digits=1),
    )


def sentence(first: Experiment, second: Experiment, comparison: Optional[Comparison]) -> str:
    """A comparison in words, claiming no more than the interval does."""
    if comparison is None:
        return f"{second.name} against {first.name}: not comparable, there are no scores on the same utterances."
    measured = (
        f"{second.name} against {first.name}: {100 * comparison.difference:+.2f} points of WER "
        f"(95 % interval {100 * comparison.low:+.2f} to {100 * comparison.high:+.2f}, p = {comparison.p_value:.2g})"
    )
    if comparison.low <= 0 <= comparison.high:
        return f"{measured}: this test set shows no difference."
    return f"{measured}: {'fewer' if comparison.difference < 0 else 'more'} errors on this test set."


def terminal(table: Sequence[Tuple[str, ...]]) -> str:
    """Aligned columns: the first to the left, numbers to the right."""
    lines = [HEADER, *table]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in lines
    )


def markdown(table: Sequence[Tuple[str, ...]]) -> str:
    """A Markdown table."""
    rule = ["---", *["---:"] * (len(HEADER) - 1)]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in (HEADER, rule, *table))


def html_table(header: Sequence[str], table: Sequence[Sequence[str]]) -> str:
    """An HTML table, escaped; the first column holds the rows' headings."""
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{html.escape(line[0])}</th>{"".join(f"<td>{html.escape(cell)}</td>" for cell in line[1:])}</tr>\n'
        for line in table
    )
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>'


def _decimal(value: Optional[float], factor: float = 1.0, digits: int = 2) -> str:
    return MISSING if value is None else f"{factor * value:.{digits}f}"
