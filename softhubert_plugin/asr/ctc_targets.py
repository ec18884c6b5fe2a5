"""CTC targets from transcripts: letters or sentencepiece units, in the files that fairseq's fine-tuning reads.

In fairseq, a character outside the dictionary silently becomes ``<unk>`` in training. Here such transcripts are counted and named, and
either refused or left out.
"""

from __future__ import annotations

import collections
import io
import unicodedata
from pathlib import Path
from typing import Any, Callable, Counter, Dict, List, Optional, Sequence, Set, Tuple

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, atomic_path, write_text
from softhubert_plugin.manifests import Manifest, letters, read_dictionary, read_lines, read_manifest, write_manifest

Spell = Callable[[str], List[str]]
_BOUNDARY = {"ltr": "|"}  # between words; of pieces it is "▁"


def write_letter_targets(
    data: PathLike, splits: Sequence[str], dest: PathLike, *, dictionary: Optional[PathLike] = None, drop: bool = False
) -> str:
    """Write ``{split}.ltr`` of each split, and ``dict.ltr.txt``.

    Args:
        data: folder of ``{split}.tsv`` and ``{split}.wrd``.
        dest: folder to write to.
        dictionary: file that lists the allowed letters; by default the letters of the first split.
        drop: leave out utterances with other letters or without words, from the manifest and from all transcripts.

    Returns:
        One line that says what was written.

    Raises:
        SoftHubertError: a file is missing or does not fit its manifest, or a transcript cannot be spelled.
    """
    if dictionary is not None:
        symbols = read_dictionary(dictionary)
        counts = collections.Counter(dict.fromkeys(symbols, 1))
    else:
        counts = _count(_texts(Path(data), splits[0])[1], lambda text: letters(text).split())
        symbols = _ordered(counts)
    dropped = _write_targets(Path(data), splits, Path(dest), "ltr", set(symbols), lambda text: letters(text).split(), drop)
    write_text(Path(dest) / "dict.ltr.txt", "".join(f"{symbol} {counts[symbol]}\n" for symbol in symbols))
    return f"{dest}: letters of {', '.join(splits)}, {len(symbols)} symbols{dropped}{_invisible(symbols)}"


def write_piece_targets(data: PathLike, splits: Sequence[str], dest: PathLike, *, units: int, drop: bool = False) -> str:
    """Learn sentencepiece units (unigram, Kudo 2018) from the first split and write the targets of each split.

    Writes ``sp{units}.model``, ``{split}.sp{units}`` and ``dict.sp{units}.txt``. Fine-tune on them with ``task.labels=[sp{units}]`` and
    ``criterion.post_process=sentencepiece``.

    Args:
        data: folder of ``{split}.tsv`` and ``{split}.wrd``.
        dest: folder to write to.
        units: number of units to learn.
        drop: leave out utterances that the units cannot spell or that have no words, from the manifest and from all transcripts.

    Returns:
        One line that says what was written.

    Raises:
        SoftHubertError: as :func:`write_letter_targets`, or the text is too small for this number of units.
    """
    import sentencepiece

    label = f"sp{units}"
    texts = _texts(Path(data), splits[0])[1]
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(" ".join(text.split()) for text in texts), model_writer=written, vocab_size=units, model_type="unigram",
            normalization_rule_name="identity", character_coverage=1.0, bos_id=-1, eos_id=-1, num_threads=1, minloglevel=2,
        )  # fmt: skip
    except RuntimeError as error:
        reason = " ".join(str(error).split()).rpartition("] ")[2]
        raise SoftHubertError(f"{data}/{splits[0]}.wrd: does not give {units} units ({reason}); choose another --units") from None
    model = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    symbols = {model.id_to_piece(number) for number in range(model.get_piece_size()) if not model.is_unknown(number)}
    spell: Spell = lambda text: list(model.encode(" ".join(text.split()), out_type=str))  # noqa: E731
    counts = _count(texts, spell)
    dropped = _write_targets(Path(data), splits, Path(dest), label, symbols, spell, drop)
    ordered = sorted(symbols, key=lambda symbol: (-counts[symbol], symbol))
    write_text(Path(dest) / f"dict.{label}.txt", "".join(f"{symbol} {max(counts[symbol], 1)}\n" for symbol in ordered))
    with atomic_path(Path(dest) / f"{label}.model") as temporary:
        temporary.write_bytes(written.getvalue())
    return f"{dest}: {label} of {', '.join(splits)}, {len(symbols)} symbols{dropped}{_invisible(sorted(set(''.join(symbols))))}"


def load_pieces(path: PathLike) -> Any:
    """Load a sentencepiece model.

    Raises:
        SoftHubertError: the file is missing or damaged.
    """
    import sentencepiece

    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError):
        raise SoftHubertError(f"{path}: missing, or not a sentencepiece model; make one with 'softhubert targets --units'") from None


def _texts(data: Path, split: str) -> Tuple[Manifest, List[str]]:
    manifest = read_manifest(data / f"{split}.tsv")
    return manifest, read_lines(data / f"{split}.wrd", expected=len(manifest), of=manifest.path)


def _count(texts: Sequence[str], spell: Spell) -> Counter[str]:
    counts: Counter[str] = collections.Counter()
    for text in texts:
        if text.split():
            counts.update(spell(text))
    return counts


def _ordered(counts: Counter[str]) -> List[str]:
    """Sort the symbols, the most frequent first, as in fairseq's dictionaries."""
    return [symbol for symbol, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def _write_targets(data: Path, splits: Sequence[str], dest: Path, label: str, symbols: Set[str], spell: Spell, drop: bool) -> str:
    """Check all splits, then write them. Return a phrase that says what was left out."""
    spelt: Dict[str, List[Optional[List[str]]]] = {}
    manifests: Dict[str, Manifest] = {}
    unknown: Counter[str] = collections.Counter()
    bad: List[str] = []
    for split in splits:
        manifests[split], texts = _texts(data, split)
        spelt[split] = []
        for index, text in enumerate(texts):
            units = spell(text) if text.split() else []
            foreign = {symbol for symbol in units if symbol not in symbols} | _lost(text, units, _BOUNDARY.get(label, "▁"))
            unknown.update(foreign)
            fits = bool(units) and not foreign
            spelt[split].append(units if fits else None)
            if not fits:
                bad.append(f"{split}: {manifests[split].utterance_id(index)}")
    if bad and not drop:
        what = f"characters outside the dictionary ({_named(unknown)})" if unknown else "no words"
        raise SoftHubertError(
            f"{data}: {len(bad)} transcripts with {what}, the first {bad[0]}; correct them, or leave those utterances out with --drop"
        )
    for split in splits:
        kept = [index for index, units in enumerate(spelt[split]) if units is not None]
        if not kept:
            raise SoftHubertError(f"{data}/{split}.wrd: no transcript can be used; give the dictionary of these transcripts")
        if len(kept) < len(spelt[split]) or dest.resolve() != data.resolve():
            _copy(data, dest, split, manifests[split], kept)
        write_text(dest / f"{split}.{label}", "".join(" ".join(units) + "\n" for units in spelt[split] if units is not None))
    return f"; left out {len(bad)} utterances ({_named(unknown) or 'no words'}), the first {bad[0]}" if bad else ""


def _lost(text: str, units: Sequence[str], boundary: str) -> Set[str]:
    """Return characters that stand in the way of reading the same words from the units as from the text, which scoring compares."""
    joined = "".join(units)
    if joined.replace(boundary, " ").split() == text.split():
        return set()
    return {character for character in text if character not in joined and not character.isspace()} or {boundary}


def _named(unknown: Counter[str]) -> str:
    return ", ".join(f"{symbol!r} in {count}" for symbol, count in unknown.most_common(8))


def _invisible(symbols: Sequence[str]) -> str:
    """Return a warning about symbols that nobody sees in the transcripts. Some scripts need them, so they are not refused."""
    found = [f"U+{ord(symbol):04X}" for symbol in symbols if len(symbol) == 1 and unicodedata.category(symbol) in ("Cf", "Cc", "Co", "Cn")]
    return f"; warning: {', '.join(found)} cannot be seen in a text, but the model will have to recognise it" if found else ""


def _copy(data: Path, dest: Path, split: str, manifest: Manifest, kept: Sequence[int]) -> None:
    """Write the kept lines of the manifest and of every transcript beside it."""
    for path in sorted(data.iterdir()):
        if path.stem == split and (path.suffix in (".wrd", ".ltr") or path.suffix.startswith(".sp")):
            lines = read_lines(path, expected=len(manifest), of=manifest.path)
            write_text(dest / path.name, "".join(f"{lines[index]}\n" for index in kept))
    write_manifest(dest / f"{split}.tsv", manifest.root, ((manifest.names[index], int(manifest.sizes[index])) for index in kept))
