"""Write manifests of Lhotse's cut sets: every supervision becomes an utterance, with its text, speaker and alignments.

Lhotse itself reads the cuts, and nothing more: commands, addresses and other sources of audio that it knows are refused and never opened.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from softhubert_plugin.corpora.assemble import Wishes, write_corpus
from softhubert_plugin.corpora.listed import Faults, Listed, UtteranceFault, named_inputs, path_from, seconds_from, word_from
from softhubert_plugin.corpora.textgrids import Interval, write_textgrid
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import SAMPLE_RATE
from softhubert_plugin.requirements import how_to_install
from softhubert_plugin.text_files import numbered_lines

# How the alignments of Lhotse's recipes are named, and the tiers they go to.
TIERS = {"word": "words", "words": "words", "phone": "phones", "phones": "phones", "phoneme": "phones", "phonemes": "phones"}
_MAKE_CUTS = "make cuts with 'lhotse cut simple -r RECORDINGS -s SUPERVISIONS cuts.jsonl.gz'"
_STORE = "store the audio as it is heard with Lhotse's CutSet.save_audios, and give the cuts that it returns"


class _Cut(NamedTuple):
    """A cut of Lhotse's, and where it is listed."""

    where: str
    cut: Any


def write_lhotse_manifests(cuts: Sequence[str], wishes: Wishes) -> str:
    """Write manifests, transcripts and alignments of the supervisions in cut sets.

    A cut without supervisions is an utterance without transcript. Alignments go to ``DEST/alignments``, as TextGrids.

    Args:
        cuts: the cut sets (``.jsonl`` or ``.jsonl.gz``), ``CUTS`` or ``SPLIT=CUTS``. Relative paths in them start from the working
            directory, as in Lhotse, unless ``wishes`` have a root.
        wishes: what the user wants.

    Returns:
        A report: what was skipped, converted, cut and changed, and the size of each split.

    Raises:
        SoftHubertError: Lhotse is not installed, a file is not a cut set, or :func:`write_corpus` refuses the corpus.
    """
    try:
        import lhotse  # noqa: F401
    except ImportError as error:
        raise SoftHubertError(f"Lhotse cannot be imported ({error}); {how_to_install('lhotse')}") from None
    inputs = named_inputs(cuts)
    faults = Faults(wishes.skip_unreadable)
    root = wishes.root or Path()
    listed = (each for split, path in inputs for each in _listed(path, split, root, faults))
    written = write_corpus(listed, wishes, faults, source=inputs[0][1])
    left_out = Faults(wishes.skip_unreadable)
    counts: Counter[str] = Counter()
    for _, path in inputs:
        _write_alignments(path, wishes.dest / "alignments", written.utterances, counts, left_out)
    report = [*(f"skipped {fault}" for fault in left_out.noted), *written.report, *_about_alignments(wishes.dest / "alignments", counts)]
    return "\n".join(report)


def _about_alignments(dest: Path, counts: Dict[str, int]) -> List[str]:
    """Say what was aligned: ``counts`` has the utterances of each tier, and of each kind of alignment that goes to none."""
    lines = [f"{dest}: {tier} of {counts[tier]} utterances" for tier in ("phones", "words") if tier in counts]
    if "words" in counts and "phones" not in counts:
        lines.append("note: words alone are aligned; 'softhubert probe' and 'labels quality' need phones")
    others = sorted(set(counts) - {"phones", "words"})
    return lines + ([f"note: alignments of other kinds were left out: {', '.join(others)}"] if others else [])


def _cuts(path: Path, faults: Faults) -> Iterator[_Cut]:
    """Iterate over the cuts of a file."""
    suffixes = "".join(path.suffixes[-2:])
    if not suffixes.endswith((".jsonl", ".jsonl.gz")):
        raise SoftHubertError(
            f"{path}: expected Lhotse's cuts, .jsonl or .jsonl.gz; convert them with 'lhotse copy {path.name} cuts.jsonl.gz'"
        )
    empty = True
    for number, line in numbered_lines(path, "a cut set of Lhotse"):
        if not line.strip():
            continue
        empty = False
        with faults.tolerated():
            yield _cut(path, number, line)
    if empty:
        raise SoftHubertError(f"{path}: empty; expected a cut set of Lhotse: {_MAKE_CUTS}")


def _cut(path: Path, number: int, line: str) -> _Cut:
    from lhotse import MonoCut, MultiCut
    from lhotse.serialization import deserialize_item

    where = f"{path}, line {number}"
    try:
        data = json.loads(line)
        kind = data.get("type")
    except (ValueError, RecursionError, AttributeError) as error:
        raise UtteranceFault(f"{where}: expected a JSON object, found {line[:60]!r} ({str(error)[:80]})") from None
    if kind in ("MixedCut", "PaddingCut"):
        raise UtteranceFault(f"{where}: a {kind}, whose audio is mixed or padded and in no file; {_STORE}")
    if kind is None and not isinstance(data.get("supervisions"), list):
        raise SoftHubertError(f"{where}: expected a cut, found another manifest of Lhotse's; {_MAKE_CUTS}")
    try:
        cut = deserialize_item(data)
    except Exception as error:  # Lhotse checks little: what is malformed raises whatever it leads to
        raise UtteranceFault(f"{where}: Lhotse cannot read this cut ({type(error).__name__}: {str(error)[:80]})") from None
    if not isinstance(cut, (MonoCut, MultiCut)):
        raise SoftHubertError(f"{where}: expected a cut, found a {type(cut).__name__}; {_MAKE_CUTS}")
    return _Cut(where, cut)


def _listed(path: Path, split: Optional[str], root: Path, faults: Faults) -> Iterator[Listed]:
    for where, cut in _cuts(path, faults):
        supervised = isinstance(cut.supervisions, list) and cut.supervisions
        for number, supervision in enumerate(cut.supervisions if supervised else [None], start=1):
            with faults.tolerated():
                yield _utterance(_place(where, number), cut, supervision, split, root)


def _place(where: str, number: int) -> str:
    """Where a supervision is listed."""
    return f"{where}, supervision {number}"


def _utterance(where: str, cut: Any, supervision: Any, split: Optional[str], root: Path) -> Listed:
    """The utterance of a supervision, or of a whole cut if it is ``None``."""
    recording = cut.recording
    if recording is None:
        raise UtteranceFault(f"{where}: the cut has no recording, only features; make cuts of the recordings")
    if recording.transforms:
        raise UtteranceFault(f"{where}: the recording is changed when it is read (resampled, faster, louder …); {_STORE}")
    start, seconds = seconds_from(cut.start, "start of the cut", where), seconds_from(cut.duration, "duration of the cut", where)
    text = speaker = None
    if supervision is not None:
        after = seconds_from(supervision.start, "start of the supervision", where)
        spoken = seconds_from(supervision.duration, "duration of the supervision", where)
        if after < -0.01 or after + spoken > seconds + 0.01:
            raise UtteranceFault(f"{where}: it goes from {after:g} to {after + spoken:g} s of a cut of {seconds:g} s, not all inside it")
        start, seconds = max(0.0, start + after), spoken
        text, speaker = _words(supervision.text, "text", where), _words(supervision.speaker, "speaker", where)
    if seconds <= 0:
        raise UtteranceFault(f"{where}: expected a duration above 0 s, found {seconds:g}")
    file, channel = _source(where, recording, cut.channel if supervision is None else _channel(cut, supervision))
    return Listed(
        where=where,
        name=word_from(str((supervision or cut).id), "name", where),
        recording=word_from(str(recording.id), "name of a recording", where),
        audio=root / file,
        start=start,
        end=start + seconds,
        channel=channel,
        text=text,
        speaker=None if speaker is None else word_from(speaker, "speaker", where),
        split=split,
    )


def _words(value: Any, what: str, where: str) -> Optional[str]:
    if value is not None and not isinstance(value, str):
        raise UtteranceFault(f"{where}: expected text for the {what}, found {str(value)[:60]!r}")
    return value


def _channel(cut: Any, supervision: Any) -> Any:
    """The channel of a supervision, if the cut has it; otherwise that of the cut."""
    channels = cut.channel if isinstance(cut.channel, list) else [cut.channel]
    return supervision.channel if len(channels) > 1 and supervision.channel in channels else cut.channel


def _source(where: str, recording: Any, channel: Any) -> Tuple[str, Optional[int]]:
    """The file that has a channel (or several), and the channel's number in it; ``None`` for all of the file's channels."""
    for source in recording.sources:
        if source.type != "file":
            raise UtteranceFault(
                f"{where}: the audio comes from a {str(source.type)[:20]!r} ({str(source.source)[:60]!r}), which is never run or opened; "
                "expected a file: store the audio with Lhotse's CutSet.save_audios"
            )
    wanted: List[Any] = channel if isinstance(channel, list) else [channel]
    for source in recording.sources:
        if isinstance(source.channels, list) and all(each in source.channels for each in wanted):
            path = path_from(str(source.source), where)
            if len(wanted) == len(source.channels):
                return path, None
            if len(wanted) == 1:
                return path, source.channels.index(wanted[0])
            break
    raise UtteranceFault(f"{where}: expected one channel, or all of one file; found {str(channel)[:40]} of {recording.id}; {_STORE}")


def _write_alignments(path: Path, dest: Path, written: Dict[str, Tuple[str, int]], counts: Counter[str], faults: Faults) -> None:
    """Write the alignments of the utterances that were written, and count them. They are read a second time, not kept in memory."""
    for where, cut in _cuts(path, Faults(skip=True)):
        for number, supervision in enumerate(cut.supervisions or [], start=1):
            place = _place(where, number)
            if place not in written or not supervision.alignment:
                continue
            name, samples = written[place]
            with faults.tolerated():
                found = _tiers(supervision, cut.start + supervision.start, place)
                if found:
                    target = dest / PurePosixPath(name).with_suffix(".TextGrid")
                    write_textgrid(target, found, samples / SAMPLE_RATE, place)
                counts.update([*found, *(kind for kind in supervision.alignment if kind not in TIERS)])


def _tiers(supervision: Any, offset: float, where: str) -> Dict[str, List[Interval]]:
    """The alignments of a supervision by tier, with times from the start of the utterance.

    Lhotse counts the times in an alignment from the start of the recording, but those of the supervision from the start of the cut.

    Args:
        supervision: the supervision.
        offset: where the utterance starts in the recording, in seconds.
        where: where it is listed.
    """
    found: Dict[str, List[Interval]] = {}
    for kind, items in supervision.alignment.items():
        if kind in TIERS:
            for item in items:
                start = seconds_from(item.start, "start in the alignment", where) - offset
                end = start + seconds_from(item.duration, "duration in the alignment", where)
                found.setdefault(TIERS[kind], []).append((start, end, str(item.symbol)))
    return found
