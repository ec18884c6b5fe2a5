"""A page on which one hears where targets are unsure: one HTML file with the sound, and the pictures over which a cursor moves with it.

The page needs no network: styles, script, sound and pictures are inside, and its content security policy forbids everything else.
"""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from softhubert_plugin.alignments.sources import FRAME_CENTRE
from softhubert_plugin.audio.read import read_waveform
from softhubert_plugin.manifests import SAMPLE_RATE
from softhubert_plugin.uncertainty.corpus import LabelledCorpus
from softhubert_plugin.uncertainty.frames import UnsureFrames, unsure_frames
from softhubert_plugin.uncertainty.listen_media import HOP, WINDOW, posteriorgram_uri, spectrogram_uri, wav_uri

ROWS = 24  # components in a posteriorgram; the last row is all others together
_LARGEST = 3  # components in the line below the sound
_PIXELS_A_SECOND = 180
_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_SPEEDS = "".join(f'<option value="{value}">{name}</option>' for value, name in (("1", "1"), ("0.5", "½"), ("0.25", "¼")))
_HELP = (
    "Play the sound, or click into its pictures to go there. With the pictures in focus: <kbd>Space</kbd> plays and stops, <kbd>←</kbd> "
    "<kbd>→</kbd> move by 0.1 s (with <kbd>Shift</kbd> by one frame), <kbd>Home</kbd> and <kbd>End</kbd> go to the ends."
)


@dataclass(frozen=True)
class _Utterance:
    """What the page shows of an utterance.

    Attributes:
        title: its name and numbers.
        samples: ``(samples,)`` its sound at 16 kHz.
        frames: its targets.
        phones, starts, end: the names of its phones, when each begins and when the last ends, in seconds; empty without alignment.
    """

    title: str
    samples: np.ndarray
    frames: UnsureFrames
    phones: List[str]
    starts: List[float]
    end: float

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return len(self.samples) / SAMPLE_RATE


def listen_page(corpus: LabelledCorpus, chosen: Sequence[int], phone_of: Optional[Sequence[str]]) -> str:
    """Write the page as HTML.

    Args:
        corpus: the labels and what belongs to them.
        chosen: the utterances to show, in this order.
        phone_of: the phone that each component stands for, empty for a component that is never the most probable one; ``None`` without
            alignments.

    Raises:
        SoftHubertError: the audio of an utterance cannot be read, or has another length than in the manifest.
    """
    names = {} if phone_of is None else {number: f"{number} {phone}" for number, phone in enumerate(phone_of) if phone}
    utterances = [_utterance(corpus, index) for index in chosen]
    records = [_record(utterance) for utterance in utterances]
    top = max(float(utterance.frames.entropy.max()) for utterance in utterances) or 1.0
    sections = [_section(utterance, corpus, names, number, top) for number, utterance in enumerate(utterances)]
    used = {component for record in records for frame in record["largest"] for component, _ in frame}
    data = {
        "rate": corpus.rate,
        "centre": FRAME_CENTRE,
        "soft": corpus.soft,
        "names": {number: names[number] for number in sorted(used) if number in names},
        "utterances": records,
    }
    title = f"Where the targets of {corpus.labels.path.name} are unsure"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            f'<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f'<title>{_text(title)}</title><meta name="viewport" content="width=device-width">',
            f"<style>\n{_beside('listen.css')}</style></head><body>",
            f"<h1>{_text(title)}</h1>",
            f"<p>{_HELP}</p>",
            f'<p class="note">{_text(_explained(corpus, names))}</p>',
            *sections,
            f'<script type="application/json" id="data">{_json(data)}</script>',
            f"<script>\n{_beside('listen.js')}</script></body></html>",
        ]
    )


def _explained(corpus: LabelledCorpus, names: Dict[int, str]) -> str:
    rows = "each row is a component, with the phone that most of its frames have" if names else "each row is a component"
    return (
        f"{corpus.labels.n_components} components. From top to bottom: spectrogram, 0 to 8 kHz; posteriors, of which the {ROWS - 1} "
        f"components that the utterance uses most have a row of their own ({rows}; darker is more probable), and the last row is all "
        "others; entropy in nats, with lines at perplexity 2, 4 and 8; phones, where there is an alignment. The utterances are in turn the "
        "least sure and the surest ones by mean entropy, spread over the speakers, of 2 to 20 seconds if there are enough."
    )


def _utterance(corpus: LabelledCorpus, index: int) -> _Utterance:
    frames = unsure_frames(corpus.labels, index)
    parts = [corpus.manifest.names[index]]
    if corpus.speakers is not None:
        parts.append(f"speaker {corpus.speakers.names[index]}")
    if corpus.soft:
        parts.append(f"mean entropy {frames.entropy.mean():.2f} nats")
    phones: List[str] = []
    starts: List[float] = []
    end = 0.0
    if corpus.phones is not None and corpus.phones.has(index):
        spoken = corpus.phones.intervals(index)
        phones, starts, end = [corpus.phones.phones[phone] for phone in spoken.phones], spoken.starts.tolist(), spoken.end
    samples = read_waveform(corpus.manifest, index, normalize=False).numpy()
    return _Utterance(" · ".join(parts), samples, frames, phones, starts, end)


def _record(utterance: _Utterance) -> Dict[str, Any]:
    """What the script reads about an utterance."""
    return {
        "seconds": utterance.seconds,
        "entropy": [round(value, 3) for value in utterance.frames.entropy.tolist()],
        "largest": _largest(utterance.frames),
        "phones": utterance.phones,
        "starts": [round(start, 4) for start in utterance.starts],
        "end": round(utterance.end, 4),
    }


def _largest(frames: UnsureFrames) -> List[List[List[float]]]:
    """The most probable components of each frame, with their probabilities."""
    targets = frames.targets
    order = np.lexsort((targets.components, -targets.probabilities, targets.frame_of_entry))
    components, shares = targets.components[order].tolist(), targets.probabilities[order].tolist()
    ends = np.cumsum(targets.counts)
    found = []
    for end, count in zip(ends.tolist(), targets.counts.tolist()):
        places = range(end - count, end - count + min(count, _LARGEST))
        found.append([[components[place], round(shares[place], 3)] for place in places])
    return found


def _section(utterance: _Utterance, corpus: LabelledCorpus, names: Dict[int, str], number: int, top: float) -> str:
    rows, posteriors = _posteriors(utterance.frames, corpus.labels.n_components, names)
    first, seconds = FRAME_CENTRE - 0.5 / corpus.rate, len(utterance.frames) / corpus.rate
    columns = 1 + max(0, len(utterance.samples) - WINDOW) // HOP
    heard = _place(FRAME_CENTRE - 0.5 * HOP / SAMPLE_RATE, columns * HOP / SAMPLE_RATE, utterance.seconds)
    labelled = _place(first, seconds, utterance.seconds)
    title = _text(utterance.title)
    tracks = [
        f'<div class="track sound"><img alt="Spectrogram" style="{heard}" src="{spectrogram_uri(utterance.samples)}"></div>',
        f'<div class="track posteriors"><img alt="Posteriors" style="{labelled}" src="{posteriorgram_uri(posteriors)}"></div>',
    ]
    heads = ['<div class="sound">8 kHz</div>', f'<div class="posteriors rows">{_row_names(rows)}</div>']
    if corpus.soft:
        tracks.append(f'<div class="track entropy">{_entropy_curve(utterance.frames.entropy, top, labelled)}</div>')
        heads.append(f'<div class="entropy">{top:.1f} nats</div>')
    if utterance.phones:
        tracks.append(f'<div class="track phones">{_phone_spans(utterance)}</div>')
        heads.append('<div class="phones">phones</div>')
    return "\n".join(
        [
            f'<section class="utterance" aria-labelledby="title-{number}">',
            f'<h2 id="title-{number}">{title}</h2>',
            f'<div class="controls"><audio controls preload="auto" src="{wav_uri(utterance.samples)}"></audio>',
            f"<label>speed <select>{_SPEEDS}</select></label>",
            "</div>",
            '<div class="readout"></div>',
            f'<div class="figure"><div class="names" aria-hidden="true">{"".join(heads)}</div><div class="scroll">',
            f'<div class="timeline" tabindex="0" role="slider" aria-label="Time in {title}" aria-valuemin="0" '
            f'aria-valuemax="{utterance.seconds:.2f}" aria-valuenow="0" style="min-width: {_PIXELS_A_SECOND * utterance.seconds:.0f}px">',
            *tracks,
            '<div class="cursor"></div></div></div></div></section>',
        ]
    )


def _posteriors(frames: UnsureFrames, n_components: int, names: Dict[int, str]) -> Tuple[List[str], np.ndarray]:
    """The rows of the posteriorgram: their names, and ``(rows, frames)`` probabilities.

    Rows with the same phone are neighbours. The last row, of all other components, is left out where there are none.
    """
    targets = frames.targets
    used = np.bincount(targets.components, weights=targets.probabilities, minlength=n_components)
    most = np.argsort(-used, kind="stable")[: ROWS - 1]
    shown = sorted((int(number) for number in most if used[number] > 0), key=lambda number: (names.get(number, "").split()[1:], number))
    row_of = np.full(n_components, len(shown))
    row_of[shown] = np.arange(len(shown))
    posteriors = np.zeros((len(shown) + 1, len(frames)))
    np.add.at(posteriors, (row_of[targets.components], targets.frame_of_entry), targets.probabilities)
    labels = [names.get(number, str(number)) for number in shown]
    return ([*labels, "others"], posteriors) if posteriors[-1].any() else (labels, posteriors[:-1])


def _row_names(rows: Sequence[str]) -> str:
    return "".join(f'<span style="top: {100 * (row + 0.5) / len(rows):.2f}%">{_text(name)}</span>' for row, name in enumerate(rows))


def _entropy_curve(entropy: np.ndarray, top: float, place: str) -> str:
    points = " ".join(f"{frame + 0.5:g},{100 * (1 - value / top):.1f}" for frame, value in enumerate(entropy.tolist()))
    heights = [100 * (1 - np.log(perplexity) / top) for perplexity in (2, 4, 8) if np.log(perplexity) < top]
    lines = "".join(f'<line x1="0" x2="{len(entropy)}" y1="{height:.1f}" y2="{height:.1f}"/>' for height in heights)
    return (
        f'<svg role="img" aria-label="Entropy" style="{place}" viewBox="0 0 {len(entropy)} 100" preserveAspectRatio="none">{lines}'
        f'<path d="M{points}"/></svg>'
    )


def _phone_spans(utterance: _Utterance) -> str:
    bounds = [*utterance.starts, utterance.end]
    return "".join(
        f'<span style="{_place(start, end - start, utterance.seconds)}">{_text(phone)}</span>'
        for phone, start, end in zip(utterance.phones, bounds, bounds[1:])
    )


def _place(start: float, length: float, seconds: float) -> str:
    return f"left: {100 * start / seconds:.3f}%; width: {100 * length / seconds:.3f}%"


def _text(text: str) -> str:
    """Text from a file, for HTML. Control characters, and bytes that are not UTF-8, cannot be in a page."""
    shown = "".join(character if character.isprintable() or character in "\t " else "\N{REPLACEMENT CHARACTER}" for character in text)
    return html.escape(shown)


def _json(value: Any) -> str:
    """JSON that cannot end the script element that it is in. Everything outside ASCII is escaped."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
