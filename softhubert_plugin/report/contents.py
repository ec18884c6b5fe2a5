"""Check that the files of an experiment hold what the report shows: numbers where it draws numbers, and rates that fit their counts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Mapping, Sequence

from softhubert_plugin.errors import SoftHubertError


class FileContent:
    """The content of one JSON file, with checks that name the file and the key.

    Args:
        path: the file.
        value: its content, an object.
        remedy: what to do if a check fails.

    Each check raises a :class:`SoftHubertError` if it fails.
    """

    def __init__(self, path: Path, value: Mapping[str, Any], remedy: str) -> None:
        self.path, self.value, self.remedy = path, value, remedy

    def check_run(self) -> None:
        """Check what tells one saved run from another, and its curves: numbers at a number of updates."""
        self._require("name", self.value.get("name"), is_json_text(self.value.get("name")), "text")
        self._object("settings", self.value.get("settings"))
        for stage in ("pretraining", "finetuning"):
            for number, record in enumerate(self._list(stage, self.value.get(stage))):
                values = self._object(f"{stage}[{number}]", record)
                fits = "num_updates" in values and all(map(is_json_number, values.values()))
                self._require(f"{stage}[{number}]", record, fits, "numbers, num_updates among them")

    def check_score(self) -> None:
        """Check what ``softhubert score`` writes: rates, and errors and words of each utterance, which give the word error rate."""
        score = self.value
        for key in ("wer", "low", "high"):
            self._require(key, score.get(key), is_json_number(score.get(key)), "a number")
        self._require("cer", score.get("cer"), score.get("cer") is None or is_json_number(score["cer"]), "a number")
        each = self._object("per_utterance", score.get("per_utterance"))
        utterances = len(self._list("per_utterance.id", each.get("id")))
        for key in ("id", "errors", "words", *({"alignment", "speaker"} & each.keys())):
            values = self._list(f"per_utterance.{key}", each.get(key))
            fits = len(values) == utterances and all(map(is_json_count if key in ("errors", "words") else is_json_text, values))
            self._require(f"per_utterance.{key}", values, fits, f"one value for each of {utterances} utterances")
        errors, words = sum(each["errors"]), sum(each["words"])
        fits = words > 0 and math.isclose(score["wer"], errors / words, rel_tol=1e-6, abs_tol=1e-9)
        self._require("wer", score["wer"], fits, f"{errors} errors in {words} words")
        if {"character_errors", "characters"} & each.keys():
            self._check_characters(score.get("cer"), each, utterances)

    def _check_characters(self, rate: Any, each: Mapping[str, Any], utterances: int) -> None:
        """Check errors and characters of each utterance, which give the character error rate. Files of old versions do not have them."""
        for key in ("character_errors", "characters"):
            values = self._list(f"per_utterance.{key}", each.get(key))
            fits = len(values) == utterances and all(map(is_json_count, values))
            self._require(f"per_utterance.{key}", values, fits, f"one value for each of {utterances} utterances")
        errors, characters = sum(each["character_errors"]), sum(each["characters"])
        fits = rate is None or (characters > 0 and math.isclose(rate, errors / characters, rel_tol=1e-6, abs_tol=1e-9))
        self._require("cer", rate, fits, f"{errors} errors in {characters} characters")

    def check_description(self) -> None:
        """Check what ``softhubert labels inspect`` writes: rate and perplexity of the labels, and the histogram of entropies."""
        self._check_label_rate()
        perplexity = self.value.get("perplexity")
        self._require("perplexity", perplexity, perplexity is None or is_json_number(perplexity), "a number")
        if "entropy_histogram" in self.value:
            histogram = self._object("entropy_histogram", self.value["entropy_histogram"])
            edges = self._list("entropy_histogram.edges", histogram.get("edges"))
            counts = self._list("entropy_histogram.counts", histogram.get("counts"))
            rising = all(map(is_json_number, edges)) and edges == sorted(edges)
            self._require("entropy_histogram.edges", edges, rising and len(edges) < 10_000, "rising numbers")
            fits = all(map(is_json_count, counts)) and len(counts) == len(edges) - 1
            self._require("entropy_histogram.counts", counts, fits, "a count between any two edges")

    def _check_label_rate(self) -> None:
        rate = self.value.get("label_rate")
        self._require("label_rate", rate, rate is None or is_json_number(rate), "a number of labels a second")

    def check_quality(self) -> None:
        """Check what ``softhubert labels quality`` writes: the rate of the labels, and measures with their intervals."""
        self._check_label_rate()
        for kind in ("hard", "argmax", "expected"):
            if self.value.get(kind):
                self._measures(kind, self.value[kind], ("phone_purity", "cluster_purity", "pnmi"))

    def check_layers(self) -> None:
        """Check what ``softhubert probe`` writes: the number of each layer, and measures with their intervals."""
        for number, row in enumerate(self._list("layers", self.value.get("layers") or [])):
            self._measures(f"layers[{number}]", row, ("accuracy", "speech_accuracy", "pnmi"))
            self._require(f"layers[{number}].layer", row.get("layer"), is_json_count(row.get("layer")), "a layer's number")
        if self.value.get("mfcc"):
            self._measures("mfcc", self.value["mfcc"], ("accuracy", "pnmi"))

    def _measures(self, name: str, measures: Any, keys: Sequence[str]) -> None:
        self._object(name, measures)
        for key in keys:
            if measures.get(key):
                measure = self._object(f"{name}.{key}", measures[key])
                for part in ("value", "low", "high"):
                    self._require(f"{name}.{key}.{part}", measure.get(part), is_json_number(measure.get(part)), "a number")

    def _object(self, name: str, value: Any) -> Any:
        return self._require(name, value, isinstance(value, dict), "an object")

    def _list(self, name: str, value: Any) -> Any:
        return self._require(name, value, isinstance(value, list), "a list")

    def _require(self, name: str, value: Any, fits: bool, expected: str) -> Any:
        if not fits:
            raise SoftHubertError(f"{self.path}: {name} is {str(value)[:60]!r}, expected {expected}; {self.remedy}")
        return value


def is_json_number(value: Any) -> bool:
    """Whether a JSON value is a number that can be drawn."""
    return type(value) in (int, float) and -1e15 < value < 1e15  # not so of NaN


def is_json_count(value: Any) -> bool:
    """Whether a JSON value is a whole number that is not negative."""
    return type(value) is int and 0 <= value < 1e15


def is_json_text(value: Any) -> bool:
    """Whether a JSON value is text."""
    return isinstance(value, str)
