"""The measures that a report compares over seeds: error rates, probing, and label quality."""

from __future__ import annotations

from typing import Callable, Collection, Iterator, NamedTuple, Optional, Sequence

from softhubert_plugin.report.experiment import Experiment
from softhubert_plugin.report.table import test_sets

Value = Callable[[Experiment], Optional[float]]

_QUALITY = (("PNMI", "pnmi"), ("phone purity", "phone_purity"), ("cluster purity", "cluster_purity"))
_COUNTS = (("", ("hard", "argmax")), (", expected counts", ("expected",)))


class Wording(NamedTuple):
    """How a verdict speaks of a measure.

    Attributes:
        name: the measure, in "points of ...".
        lower, equal, higher: what is said where the second system has a lower value, where no difference may be claimed, and where it has a
            higher value.
        missing: why two systems cannot be compared.
    """

    name: str
    lower: str
    equal: str
    higher: str
    missing: str


class Measure(NamedTuple):
    """What a table over seeds shows.

    Attributes:
        title: heading, with the unit.
        factor: values are multiplied by it.
        digits: decimals shown.
        question: measures of one question are corrected together.
        value: gives the value of an experiment; ``None`` if it has none.
        test_set: test set of an error rate; ``None`` for other measures.
        unit: what the errors of an error rate are counted in, ``words`` or ``characters``.
        wording: how a verdict speaks of it; ``None`` if there is no verdict on it.
    """

    title: str
    factor: float
    digits: int
    question: str
    value: Value
    test_set: Optional[str] = None
    unit: str = ""
    wording: Optional[Wording] = None


_WER = Wording("WER", "fewer errors", "shows no difference", "more errors", "there are no scores on the same utterances")
_CER = Wording(
    "CER",
    "fewer character errors",
    "shows no difference in character errors",
    "more character errors",
    "there are no character error rates on the same utterances",
)
_PROBING = Wording(
    "probing accuracy",
    "lower probing accuracy",
    "shows no difference in probing accuracy",
    "higher probing accuracy",
    "there is no probing accuracy of the same seeds",
)


def measures(experiments: Sequence[Experiment]) -> Iterator[Measure]:
    """Yield all measures, in the order of the report.

    The quality of labels at several rates is a measure for each rate. Averaging two frames makes the most probable component agree better
    with the phone, so a control at the model's rate would seem to have the better clusters.
    """
    sets = test_sets(experiments)
    for name in sets:
        prefix = "" if len(sets) == 1 else f"{name} "
        yield Measure(f"{prefix}WER %", 100, 2, "recognition", _error_rate(name, "wer"), name, "words", _WER)
        yield Measure(f"{prefix}CER %", 100, 2, "characters", _error_rate(name, "cer"), name, "characters", _CER)
    yield Measure("probing accuracy %, chosen layer", 100, 2, "probing", _of_layer("accuracy"), wording=_PROBING)
    yield Measure("probing accuracy of speech %, chosen layer", 100, 2, "probing of speech", _of_layer("speech_accuracy"))
    yield Measure("PNMI, chosen layer", 1, 4, "clusters of a layer", _of_layer("pnmi"))
    rates = list(dict.fromkeys(experiment.quality.get("label_rate") for experiment in experiments if experiment.quality))
    for rate in rates:
        for counts, kinds in _COUNTS:
            for title, key in _QUALITY:
                yield Measure(f"{title}{counts}{labels_at(rate, rates)}", 1, 4, "labels", _label_quality(kinds, key, rate))


def labels_at(rate: Optional[float], rates: Collection[Optional[float]]) -> str:
    """Return the rate of labels as an addition to a name; empty if all of ``rates`` are the same."""
    return "" if len(set(rates)) < 2 else f", labels at {rate:g} Hz" if rate else ", labels at an unknown rate"


def _error_rate(test_set: str, key: str) -> Value:
    return lambda experiment: experiment.scores.get(test_set, {}).get(key)


def _of_layer(key: str) -> Value:
    """Take the value of the layer that was chosen on the validation part, or else of the best layer."""

    def value(experiment: Experiment) -> Optional[float]:
        measured = {row["layer"]: float(row[key]["value"]) for row in experiment.layers.get("layers") or [] if row.get(key)}
        chosen = experiment.layers.get("layer")
        if isinstance(chosen, int) and chosen in measured:
            return measured[chosen]
        return max(measured.values()) if measured else None

    return value


def _label_quality(kinds: Sequence[str], key: str, rate: Optional[float]) -> Value:
    def value(experiment: Experiment) -> Optional[float]:
        if experiment.quality.get("label_rate") != rate:
            return None
        found = [experiment.quality[kind][key]["value"] for kind in kinds if (experiment.quality.get(kind) or {}).get(key)]
        return float(found[0]) if found else None

    return value
