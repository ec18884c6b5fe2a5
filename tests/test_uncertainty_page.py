"""The page to listen to: what is on it, and what it does in a browser where there is one."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import browser as headless
import numpy as np
import pytest
import soundfile
from test_uncertainty import align, write_labels

from softhubert_plugin.cli import main
from softhubert_plugin.labels.convert import convert_labels
from softhubert_plugin.labels.soft_layout import SoftLabelInfo, quantised
from softhubert_plugin.labels.soft_writing import write_soft_labels
from softhubert_plugin.labels.targets import FrameTargets
from softhubert_plugin.manifests import read_manifest, write_manifest
from softhubert_plugin.uncertainty.corpus import open_corpus
from softhubert_plugin.uncertainty.listen_choice import choose_utterances
from softhubert_plugin.uncertainty.listen_media import spectrogram
from softhubert_plugin.uncertainty.measure import collect

ODD = "<script>alert(1)</script>&\"'\u202e日-1.flac"
SECONDS = 2.5


def _corpus(folder: Path, names: List[str], *, seconds: float = SECONDS) -> Path:
    """Write sounds, their manifest and labels at 50 frames per second: sure and unsure by turns, less so from name to name."""
    rng = np.random.default_rng(0)
    frames, samples = round(seconds * 50), round((seconds + 0.01) * 16_000)
    targets = []
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(samples), 16_000, format="FLAC")
        share = 0.5 + 0.4 * number / len(names)
        rows = [[(0, share), (1, 1 - share)] if frame % 2 else [(frame % 5, 1.0)] for frame in range(frames)]
        counts, entries = np.asarray([len(row) for row in rows]), [entry for row in rows for entry in row]
        targets.append(FrameTargets(counts, np.asarray([k for k, _ in entries]), np.asarray([p for _, p in entries], dtype=np.float32)))
    write_manifest(folder / "train.tsv", folder, [(name, samples) for name in names])
    count, fingerprint = frames * len(names), read_manifest(folder / "train.tsv").fingerprint
    info = SoftLabelInfo(5, 50.0, "train", 1.0, 8, 1.0, "", fingerprint, count, 1.0, 1.0, 0.0, 0.0, [count])
    write_soft_labels(folder / "train.gmm", map(quantised, targets), info)
    return folder / "train.gmm"


def _command(folder: Path, labels: Path, *options: str) -> List[str]:
    return ["labels", "uncertainty", str(labels), "--manifest", str(folder / "train.tsv"), "--dest", str(folder / "out"), *options]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two utterances with alignments; the first one's name would be a script."""
    folder = tmp_path_factory.mktemp("page")
    labels = _corpus(folder, [ODD.replace("/", "\u2044"), "ben-1.flac"])
    phones = f"0 0.5 B\n0.5 1.5 AA1\n1.5 {SECONDS} <unk>\n"
    for name in (ODD.replace("/", "\u2044"), "ben-1.flac"):
        align(folder, {name[: -len(".flac")]: phones})
    assert main(_command(folder, labels, "--alignments", str(folder / "ali"), "--listen", "2")) == 0
    return folder / "out" / "listen.html"


def test_the_page_is_whole_escaped_and_needs_nothing_else(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    tags: List[str] = []
    sources: List[str] = []

    class Check(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            if tag not in ("meta", "img", "line", "path"):
                tags.append(tag)
            sources.extend(value for name, value in attrs if name in ("src", "href", "srcset", "data", "action"))

        def handle_startendtag(self, tag: str, attrs: Any) -> None:
            assert tag in ("line", "path")

        def handle_endtag(self, tag: str) -> None:
            assert tags.pop() == tag

    Check().feed(text)
    assert tags == []
    assert len(sources) == 6 and all(re.match(r"data:(image/png|audio/wav);base64,[A-Za-z0-9+/=]+$", source) for source in sources)
    assert "alert(1)" in text and "<script>alert" not in text and "\u202e" not in text
    assert "default-src 'none'" in text and not re.search(r"https?:|url\(|@import", text)
    assert text.count('<section class="utterance"') == 2 and text.count("&lt;script&gt;alert") >= 2


def test_the_page_holds_the_sound_as_it_was_read(page: Path) -> None:
    sounds = re.findall(r'audio/wav;base64,([^"]+)"', page.read_text(encoding="utf-8"))
    titles = re.findall(r'<h2 id="title-\d">(.*?) ·', page.read_text(encoding="utf-8"))
    name = titles.index("ben-1.flac")
    found, rate = soundfile.read(io.BytesIO(base64.b64decode(sounds[name])), dtype="float32")
    expected, _ = soundfile.read(page.parents[1] / "ben-1.flac", dtype="float32")
    assert rate == 16_000 and np.abs(found - expected).max() <= 1.01 / 32_768


def test_the_page_says_what_the_script_reads(page: Path) -> None:
    data = json.loads(re.findall(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"))[0])
    first = data["utterances"][0]
    assert (data["rate"], data["centre"], data["soft"]) == (50, 0.0125, True)
    assert first["entropy"][:2] == [0, pytest.approx(np.log(2), abs=1e-3)] and len(first["entropy"]) == 125
    assert first["largest"][0] == [[0, 1.0]] and first["largest"][1] == [[0, 0.5], [1, 0.5]]
    assert first["phones"] == ["B", "AA", "spn"] and first["starts"] == [0, 0.5, 1.5] and first["end"] == SECONDS
    assert data["names"]["0"].split()[1] in ("B", "AA", "spn")


def test_a_component_that_is_never_the_most_probable_one_stands_for_no_phone(tmp_path: Path) -> None:
    frames: List[Dict[int, float]] = [{0: 0.6, 2: 0.4}] * 4
    labels = write_labels(tmp_path, {"anna-1.flac": frames, "ben-1.flac": frames}, components=4)
    phones = align(tmp_path, {"anna-1": "0 0.1 S\n", "ben-1": "0 0.1 S\n"})
    given = {"phone_set": None, "units_per_second": None, "label_rate": None, "speaker_from": None}
    assert collect(open_corpus(labels, tmp_path / "train.tsv", phones, **given)).phone_of == ["S", "", "", ""]


def test_hard_labels_and_no_alignments_make_a_page_too(tmp_path: Path) -> None:
    labels = _corpus(tmp_path, ["anna-1.flac", "ben-1.flac", "cleo-1.flac"])
    (tmp_path / "hard").mkdir()
    convert_labels(labels, tmp_path / "hard" / "train.km")
    assert main(_command(tmp_path, tmp_path / "hard" / "train.km", "--label-rate", "50", "--listen", "10")) == 0
    text = (tmp_path / "out" / "listen.html").read_text(encoding="utf-8")
    assert text.count("<section") == 3 and 'class="track phones"' not in text and 'class="track entropy"' not in text


def test_utterances_of_one_frame_can_be_listened_to(tmp_path: Path) -> None:
    labels = _corpus(tmp_path, ["anna-1.flac", "ben-1.flac"], seconds=0.02)
    assert main(_command(tmp_path, labels, "--listen", "1")) == 0
    text = (tmp_path / "out" / "listen.html").read_text(encoding="utf-8")
    assert text.count("<section") == 1 and "NaN" not in text and "nan%" not in text


def test_the_same_labels_give_the_same_page(page: Path, tmp_path: Path) -> None:
    folder = page.parents[1]
    command = _command(folder, folder / "train.gmm", "--alignments", str(folder / "ali"), "--listen", "2")
    command[command.index("--dest") + 1] = str(tmp_path / "again")
    assert main(command) == 0
    assert (tmp_path / "again" / "listen.html").read_bytes() == page.read_bytes()


def test_sound_that_is_not_there_and_numbers_that_make_no_sense_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = _corpus(tmp_path, ["anna-1.flac", "ben-1.flac"])
    for number in ("-1", "101"):
        with pytest.raises(SystemExit, match="2"):
            main(_command(tmp_path, labels, "--listen", number))
        assert f"--listen {number}: expected 0 to 100 utterances" in capsys.readouterr().err
    (tmp_path / "anna-1.flac").unlink()
    with pytest.raises(SystemExit, match="2"):
        main(_command(tmp_path, labels, "--listen", "1"))
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("softhubert: error: ") and "anna-1.flac" in error
    assert not (tmp_path / "out").exists()


def test_the_least_and_the_most_unsure_are_chosen_in_turn_and_spread_over_speakers() -> None:
    entropies = np.asarray([0.1, 0.9, 0.8, 0.2, 0.5, 0.7])
    seconds = np.full(6, 5.0)
    alone = choose_utterances(4, entropies, seconds, None)
    assert alone == [1, 0, 2, 3]
    # anna has both the least and the most sure utterance: the second and third choice go to the others.
    spread = choose_utterances(3, entropies, seconds, ["anna", "anna", "ben", "ben", "cleo", "cleo"])
    assert spread == [1, 3, 5]
    assert choose_utterances(9, entropies, seconds, None) == [1, 0, 2, 3, 5, 4]
    seconds[[0, 1]] = [0.5, 40.0]
    assert choose_utterances(2, entropies, seconds, None) == [2, 3]  # neither a very short nor a very long one
    assert choose_utterances(5, entropies, seconds, None) == [1, 0, 2, 3, 5]  # unless there are too few others


def test_a_tone_is_seen_at_its_frequency_and_time() -> None:
    time = np.arange(16_000) / 16_000
    samples = np.where(time < 0.5, np.sin(2 * np.pi * 1000 * time), np.sin(2 * np.pi * 4000 * time)).astype(np.float32)
    seen = spectrogram(samples)
    assert seen.shape == (128, 98) and seen.max() == 0 and seen.min() == -70
    rows = 127 - seen.argmax(0)  # 62.5 Hz each
    assert set(rows[:45]) <= {15, 16} and set(rows[55:]) <= {63, 64}
    assert spectrogram(np.zeros(10, dtype=np.float32)).shape == (128, 1)


@pytest.fixture(scope="module")
def opened(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[headless.Page]:
    """The page in a browser."""
    path = headless.installed()
    if path is None:
        pytest.skip("no headless browser here")
    found = headless.Page(path, page, tmp_path_factory.mktemp("profile"))
    found.until("Array.from(document.querySelectorAll('audio')).every(audio => audio.readyState >= 2)")
    yield found
    found.close()


def _box(opened: headless.Page, number: int) -> Dict[str, float]:
    opened.value(f"document.querySelectorAll('.timeline')[{number}].scrollIntoView()")
    box: Dict[str, float] = opened.value(f"document.querySelectorAll('.timeline')[{number}].getBoundingClientRect().toJSON()")
    return box


def _state(opened: headless.Page, number: int) -> Tuple[float, float, str]:
    """Where the sound is, where the cursor is, both in seconds, and what the line below the sound says."""
    time, left, text = opened.value(
        f"(section => [section.querySelector('audio').currentTime, parseFloat(section.querySelector('.cursor').style.left), "
        f"section.querySelector('.readout').textContent])(document.querySelectorAll('section')[{number}])"
    )
    return time, left / 100 * (SECONDS + 0.01), text


def test_a_browser_opens_the_page_without_an_error_and_asks_for_nothing_else(opened: headless.Page, page: Path) -> None:
    assert opened.problems == [] and opened.requested == [page.as_uri()]
    assert opened.value("document.querySelectorAll('img').length") == 4
    assert opened.value("Array.from(document.images).every(image => image.complete && image.naturalWidth > 0)")
    durations = opened.value("Array.from(document.querySelectorAll('audio')).map(audio => audio.duration)")
    assert durations == pytest.approx([SECONDS + 0.01] * 2, abs=0.001)
    assert opened.value("document.querySelectorAll('h2')[0].textContent").startswith("<script>alert(1)<\u2044script>&\"'")


def test_a_click_moves_the_sound_and_the_cursor(opened: headless.Page) -> None:
    box = _box(opened, 1)
    opened.click(box["left"] + 0.4 * box["width"], box["top"] + 60)
    opened.until("!document.querySelectorAll('audio')[1].seeking")
    time, cursor, text = _state(opened, 1)
    assert time == pytest.approx(0.4 * (SECONDS + 0.01), abs=0.02) and cursor == pytest.approx(time, abs=0.01)
    assert "phone AA" in text and "entropy" in text
    assert opened.value("document.querySelectorAll('section')[1].querySelector('.here').textContent") == "AA"
    assert _state(opened, 0)[0] == 0  # the other utterance stays where it was


def test_keys_move_the_sound_and_play_it(opened: headless.Page) -> None:
    opened.value("document.querySelectorAll('.timeline')[0].focus()")
    opened.press("Home")
    opened.press("ArrowRight")
    opened.press("ArrowRight")
    assert _state(opened, 0)[:2] == pytest.approx((0.2, 0.2), abs=0.005)
    opened.press("ArrowLeft", shift=True)
    assert _state(opened, 0)[:2] == pytest.approx((0.18, 0.18), abs=0.005)
    opened.press(" ")
    opened.until("document.querySelectorAll('audio')[0].currentTime > 0.6")
    time, cursor, _ = _state(opened, 0)
    assert cursor == pytest.approx(time, abs=0.2) and cursor > 0.4  # the cursor moves with the sound
    opened.press(" ")
    assert opened.value("document.querySelectorAll('audio')[0].paused")
    opened.press("End")
    assert _state(opened, 0)[1] == pytest.approx(SECONDS + 0.01)
    assert opened.problems == []


def test_an_utterance_stops_when_another_one_plays(opened: headless.Page) -> None:
    opened.value("(audios => { audios.forEach(audio => { audio.currentTime = 0; }); })(document.querySelectorAll('audio'))")
    opened.value("document.querySelectorAll('audio')[0].play()")
    opened.value("document.querySelectorAll('audio')[1].play()")
    opened.until("document.querySelectorAll('audio')[0].paused && !document.querySelectorAll('audio')[1].paused")
    opened.value("document.querySelectorAll('audio')[1].pause()")
