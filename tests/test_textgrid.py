"""TextGrids: the long and the short format read as praatio writes them and as Praat's manual describes them; others are refused."""

from __future__ import annotations

from pathlib import Path
from typing import List, Sequence, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softhubert_plugin.alignments.formats import read_textgrid
from softhubert_plugin.alignments.textgrid import read_tiers
from softhubert_plugin.errors import SoftHubertError

Rows = Sequence[Tuple[str, str, str]]
PHONES: Rows = [("0", "0.25", "AH0"), ("0.25", "1", "B")]


def _tier(name: str, rows: Rows = PHONES, form: str = "long", number: int = 1) -> str:
    """An interval tier, with its times as they are written."""
    name, rows = name.replace('"', '""'), [(start, end, label.replace('"', '""')) for start, end, label in rows]
    if form == "short":
        return f'"IntervalTier"\n"{name}"\n0\n1\n{len(rows)}\n' + "".join(f'{start}\n{end}\n"{label}"\n' for start, end, label in rows)
    return (
        f'    item [{number}]:\n        class = "IntervalTier"\n        name = "{name}"\n        xmin = 0\n        xmax = 1\n'
        f"        intervals: size = {len(rows)}\n"
        + "".join(
            f'        intervals [{place}]:\n            xmin = {start}\n            xmax = {end}\n            text = "{label}"\n'
            for place, (start, end, label) in enumerate(rows, start=1)
        )
    )


def _points(name: str) -> str:
    return (
        f'    item [2]:\n        class = "TextTier"\n        name = "{name}"\n        xmin = 0\n        xmax = 1\n'
        '        points: size = 1\n        points [1]:\n            number = 0.5\n            mark = "AH0"\n'
    )


def _grid(*tiers: str, form: str = "long") -> str:
    if form == "short":
        return f'File type = "ooTextFile short"\n"TextGrid"\n\n0\n1\n<exists>\n{len(tiers)}\n' + "".join(tiers)
    head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 1\ntiers? <exists>\n'
    return f"{head}size = {len(tiers)}\nitem []:\n" + "".join(tiers)


def _read(folder: Path, text: str, encoding: str = "utf-8") -> List[Tuple[float, float, str]]:
    (folder / "a.TextGrid").write_bytes(text.encode(encoding))
    return [tuple(row) for row in read_textgrid(folder / "a.TextGrid")]


@pytest.mark.parametrize("form", ["long", "short"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_both_formats_are_read_in_every_encoding(form: str, encoding: str, end: str, tmp_path: Path) -> None:
    text = _grid(_tier("words", [("0", "1", "Ähm")], form), _tier("phones", PHONES, form), form=form).replace("\n", end)
    assert _read(tmp_path, text, encoding) == [(0.0, 0.25, "AH0"), (0.25, 1.0, "B")]


@pytest.mark.parametrize("form", ["long", "short"])
def test_nothing_in_a_label_is_taken_for_structure_and_numbers_may_have_exponents(form: str, tmp_path: Path) -> None:
    labels = ["intervals [2]:", 'class = "TextTier"', '"', '""', "xmin = 7", "item [3]:", "! no comment", '"IntervalTier"', "a\nb", "="]
    rows = [(f"{place}e-05", f"{place + 1}e-5", label) for place, label in enumerate(labels)]
    found = _read(tmp_path, _grid(_tier('item [1]: "words"', rows, form), _tier("phones", rows, form), form=form))
    assert [label for *_, label in found] == labels
    assert [start for start, *_ in found] == pytest.approx([place * 1e-5 for place in range(len(labels))])


def test_text_around_numbers_and_strings_may_have_any_form(tmp_path: Path) -> None:
    text = _grid(_tier("phones")).replace(" = ", "=").replace("intervals: size", "intervals:size").replace("    ", "\t")
    expected = [(0.0, 0.25, "AH0"), (0.25, 1.0, "B")]
    assert _read(tmp_path, text.replace("item []:", 'item []:   ! a comment, 17 and "')) == expected
    assert _read(tmp_path, " ".join(_grid(_tier("phones", form="short"), form="short").split("\n"))) == expected
    assert _read(tmp_path, _grid(_tier("phones", [("-0", "0.25", "AH0"), (".25", "1.", "B")]))) == expected


@pytest.mark.parametrize("name", ["phones", "Phones", " phone ", "Mary Ann - phones", "MAU"])
def test_the_tier_of_phones_is_found_by_the_names_that_aligners_give_it(name: str, tmp_path: Path) -> None:
    assert len(_read(tmp_path, _grid(_tier("words", [("0", "1", "ah")]), _points("tones"), _tier(name)))) == 2


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (_grid(_tier("phones"), _tier("phones")), r"expected one tier 'phones', found 2 among 'phones', 'phones'; keep one of them"),
        (_grid(_tier("phones"), _points("phones")), r"found 2 among 'phones', 'phones'; keep one of them"),
        (_grid(_tier("ann - phones"), _tier("bob - phones")), r"found 2 among 'ann - phones', 'bob - phones'; keep one of them"),
        (_grid(_tier("words")), r"found 0 among 'words'; rename the tier of phones"),
        (_grid(), r"found 0 among no tier"),
        (_grid().replace("<exists>\nsize = 0\nitem []:", "<absent>"), r"found 0 among no tier"),
        (_grid(_points("phones")), r"'phones' is a tier of points; expected an interval tier"),
        (_grid(_tier("phones", [("0", "0,5", "AH0")])), r"line 18: not a TextGrid that can be read \(expected a time, found \"AH0\"\)"),
        (_grid(_tier("phones", [("0", "nan", "AH0")])), r"line 18: .* \(expected a time"),
        (_grid(_tier("phones", [("0", "1e999", "AH0")])), r"line 17: .*\(expected a time, found 1e999\)|\(expected a time"),
        (_grid(_tier("phones")).replace("size = 2", "size = 3"), r"expected a time, found the end of the file"),
        (_grid(_tier("phones")).replace("size = 2", "size = 1"), r"expected the end, by the numbers of tiers and entries .*, found 0\.25"),
        (_grid(_tier("phones")).replace("size = 2", "size = 1e18"), r"expected a time, found the end of the file"),
        (_grid(_tier("phones")).replace("size = 2", "size = -2"), r"expected the number of entries, found -2"),
        (_grid(_tier("phones")).replace("size = 2", "size = 1.5"), r"expected the number of entries, found 1\.5"),
        (_grid(_tier("phones")).replace("IntervalTier", "Tier"), r"expected IntervalTier or TextTier, found 'Tier'"),
        (_grid(_tier("phones"))[:-3], r"line 22: .*\(expected a label in quotes, found \"\)"),
        ("", r"line 1: .*expected \"ooTextFile\" in quotes, found the end of the file"),
        ("ooBinaryFile\x08TextGrid\x00", r"a\.TextGrid: a binary TextGrid; save it again as a text file"),
        ('"Praat chronological TextGrid text file"\n0 1\n', r"expected \"ooTextFile\" and \"TextGrid\" at the beginning"),
        ('File type = "ooTextFile"\nObject class = "PitchTier"\n', r"expected \"ooTextFile\" and \"TextGrid\" at the beginning"),
    ],
)
def test_a_textgrid_that_does_not_say_which_phones_are_when_is_refused(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(SoftHubertError, match=complaint) as raised:
        _read(tmp_path, text)
    assert "a.TextGrid" in str(raised.value)


labels = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs"]), max_size=12)
durations = st.lists(st.integers(1, 10_000), min_size=1, max_size=6)
Drawn = List[Tuple[List[int], List[str]]]


@settings(max_examples=60, deadline=None)
@given(
    drawn=st.lists(st.tuples(durations, st.lists(labels, min_size=6, max_size=6)), min_size=1, max_size=3),
    form=st.sampled_from(["long", "short"]),
)
def test_textgrids_that_praatio_writes_are_read(drawn: Drawn, form: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    textgrid = pytest.importorskip("praatio.textgrid")
    grid = textgrid.Textgrid()
    expected = []
    for number, (lengths, texts) in enumerate(drawn):
        bounds = [sum(lengths[:place]) / 128 for place in range(len(lengths) + 1)]
        rows = list(zip(bounds, bounds[1:], texts))
        grid.addTier(textgrid.IntervalTier(f'tier "{number}"', rows, 0, 1000), reportingMode="silence")
        expected.append((f'tier "{number}"', [row for row in rows if row[2]]))
    path = tmp_path_factory.mktemp("praatio") / "a.TextGrid"
    grid.save(str(path), format=f"{form}_textgrid", includeBlankSpaces=False, minimumIntervalLength=None, reportingMode="silence")
    found = read_tiers(path)
    assert [(tier.name, [entry for entry in tier.entries if entry[2]]) for tier in found] == expected
