"""Hard label shards, ours and fairseq's, joined with their dictionary by one command; anything odd is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable, Dict, List, Optional

import numpy as np
import pytest

from softhubert_plugin.cli import main
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import sha256_of
from softhubert_plugin.labels.convert import convert_labels
from softhubert_plugin.labels.hard import HardLabels
from softhubert_plugin.labels.merge import merge_labels
from softhubert_plugin.labels.opening import open_labels
from softhubert_plugin.labels.verify import verify_file
from softhubert_plugin.manifests import read_dictionary, write_cluster_dictionary, write_manifest


@pytest.fixture()
def shards(tmp_path: Path) -> Path:
    """Two shards as fairseq writes them: five utterances, labels 0 to 4."""
    (tmp_path / "train_0_2.km").write_text("0 1 1\n2 2\n")
    (tmp_path / "train_1_2.km").write_text("3\n4 4 0\n1\n")
    write_manifest(tmp_path / "train.tsv", tmp_path, [(f"{number}.flac", 320 * (number + 1)) for number in range(5)])
    return tmp_path


def _dictionary(folder: Path) -> List[str]:
    return read_dictionary(folder / "dict.km.txt")


def test_shards_of_fairseq_become_labels_that_open(shards: Path) -> None:
    said = merge_labels(shards, "train", 2)
    assert (shards / "train.km").read_text() == "0 1 1\n2 2\n3\n4 4 0\n1\n"
    assert said == (
        f"{shards / 'train.km'}: 5 utterances, 10 frames; dict.km.txt lists 5 clusters, up to the largest label: "
        "if the clustering has more, merge again with --clusters"
    )
    labels = open_labels(shards, "train", "km")
    assert labels.n_components == 5 and labels.lengths.tolist() == [3, 2, 1, 3, 1] and labels.utterance(3).components.tolist() == [4, 4, 0]


def test_marks_and_line_ends_of_windows_do_not_change_the_labels(shards: Path) -> None:
    merge_labels(shards, "train", 2)
    clean = (shards / "train.km").read_bytes()
    for path in shards.glob("train_*.km"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b" \r\n"))
    merge_labels(shards, "train", 2)
    assert (shards / "train.km").read_bytes() == clean
    (shards / "train.km").write_bytes(b"\xef\xbb\xbf" + clean.replace(b"\n", b"\r\n")[:-2])
    (shards / "dict.km.txt").write_bytes(b"\xef\xbb\xbf" + (shards / "dict.km.txt").read_bytes().replace(b"\n", b"\r\n")[:-2])
    labels = open_labels(shards, "train", "km")
    assert [labels.utterance(index).components.tolist() for index in range(5)] == [[0, 1, 1], [2, 2], [3], [4, 4, 0], [1]]


def test_labels_of_a_mixture_know_its_number_of_components(labelled_corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mfcc, mixture, hard = (str(labelled_corpus / name) for name in ("mfcc", "gmm.safetensors", "hard"))
    for split in ("train", "valid"):
        for rank in ("0", "1"):
            assert main(["features", "mfcc", str(labelled_corpus), split, "2", rank, mfcc]) == 0
            assert main(["gmm", "dump", mfcc, split, mixture, "2", rank, hard, "--hard"]) == 0
        capsys.readouterr()
        assert main(["labels", "merge", hard, split, "2", "--manifest", str(labelled_corpus / f"{split}.tsv")]) == 0
        assert capsys.readouterr().out.rstrip().endswith("; dict.km.txt lists 8 clusters")
        assert "4 utterances" in verify_file(Path(hard) / f"{split}.km", labelled_corpus / f"{split}.tsv", label_rate=100)
        soft = open_labels(labelled_corpus / "labels", split, "gmm")
        found = open_labels(hard, split, "km")
        assert (found.label_rate, found.manifest_sha256) == (100, soft.manifest_sha256) and found.made_with == sha256_of(mixture)
        assert found.n_components == 8
        assert all(np.array_equal(soft.utterance(index).most_probable(), found.utterance(index).components) for index in range(4))
    # A shard of the other split in place of this one's: its record comes with it or not.
    (Path(hard) / "train_1_2.km").write_bytes((Path(hard) / "valid_1_2.km").read_bytes())
    with pytest.raises(SoftHubertError, match=r"train_1_2\.km: not what its record train_1_2\.km\.json describes; dump the shard again"):
        merge_labels(hard, "train", 2)
    (Path(hard) / "train_1_2.km.json").write_bytes((Path(hard) / "valid_1_2.km.json").read_bytes())
    with pytest.raises(SoftHubertError, match=r"train_1_2\.km: manifest_sha256 is .* from one manifest"):
        merge_labels(hard, "train", 2)
    with pytest.raises(SoftHubertError, match=r"valid_0_2\.km: made for another manifest than .*train\.tsv"):
        merge_labels(hard, "valid", 2, manifest=labelled_corpus / "train.tsv")
    with pytest.raises(SoftHubertError, match="--clusters 9, but these labels were made with 8 clusters"):
        merge_labels(hard, "valid", 2, clusters=9)


def test_soft_and_hard_shards_in_one_folder_are_told_apart(labelled_corpus: Path) -> None:
    labels = labelled_corpus / "labels"
    (labels / "train_0_1.km").write_text("0 1\n" * 4)
    said = merge_labels(labels, "train", 1, manifest=labelled_corpus / "train.tsv")
    assert "train.gmm: 4 utterances" in said and said.endswith("; there are .km shards too, which --hard joins")
    assert not (labels / "train.km").exists()
    assert "train.km: 4 utterances" in merge_labels(labels, "train", 1, hard=True)
    with pytest.raises(SoftHubertError, match="--clusters is for hard labels"):
        merge_labels(labels, "train", 1, clusters=5)
    with pytest.raises(SoftHubertError, match=r"train_0_1\.gmm: made for another manifest than .*valid\.tsv"):
        merge_labels(labels, "train", 1, manifest=labelled_corpus / "valid.tsv")


def test_train_and_valid_get_one_dictionary(shards: Path) -> None:
    (shards / "valid_0_1.km").write_text("0 9\n")
    assert merge_labels(shards, "valid", 1, clusters=10).endswith("; dict.km.txt lists 10 clusters")
    assert merge_labels(shards, "train", 2).endswith("; dict.km.txt lists 10 clusters")  # kept, not shrunk to 5
    assert _dictionary(shards) == [str(cluster) for cluster in range(10)]
    assert open_labels(shards, "train", "km").source == open_labels(shards, "valid", "km").source
    # Another number is written only on request, and said.
    assert merge_labels(shards, "train", 2, clusters=7).endswith("; dict.km.txt lists 7 clusters (before: 10)")
    with pytest.raises(SoftHubertError, match=r"valid_0_1\.km: label 9 is not one of the 7 clusters in .*dict\.km\.txt; give .*--clusters"):
        merge_labels(shards, "valid", 1)


def test_a_dictionary_that_does_not_fit_leaves_everything_as_it_was(shards: Path) -> None:
    write_cluster_dictionary(shards, "km", 3)
    for clusters, complaint in (
        (None, "label 4 is not one of the 3 clusters"),
        (4, "label 4, but the clustering has only the 4 clusters 0 to 3"),
    ):
        with pytest.raises(SoftHubertError, match=complaint):
            merge_labels(shards, "train", 2, clusters=clusters)
    assert not (shards / "train.km").exists() and len(_dictionary(shards)) == 3
    assert not [path for path in shards.iterdir() if path.name.startswith(".")]
    (shards / "dict.km.txt").write_text("0 1\n1 1\n3 1\n4 1\n9 1\n")  # lacks 2
    with pytest.raises(SoftHubertError, match="label 2 is not one of the 5 clusters"):
        merge_labels(shards, "train", 2)


def test_converted_labels_never_shrink_a_dictionary_either(labelled_corpus: Path, tmp_path: Path) -> None:
    dest = tmp_path / "converted"
    dest.mkdir()
    write_cluster_dictionary(dest, "km", 20)
    with pytest.raises(SoftHubertError, match=r"dict\.km\.txt: lists 20 clusters, but these labels were made with 8"):
        convert_labels(labelled_corpus / "labels" / "train.gmm", dest / "train.km")
    (dest / "dict.km.txt").unlink()
    convert_labels(labelled_corpus / "labels" / "train.gmm", dest / "train.km")
    assert len(_dictionary(dest)) == 8


def _cut(folder: Path) -> None:
    (folder / "train_1_2.km").write_bytes((folder / "train_1_2.km").read_bytes()[:-4])


def _copy(folder: Path) -> None:
    (folder / "train_1_2.km").write_bytes((folder / "train_0_2.km").read_bytes())


def _lose(folder: Path) -> None:
    (folder / "train_1_2.km").unlink()


def _rewrite(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "train_1_2.km").write_text(text) and None


def _other_count(folder: Path) -> None:
    for rank in range(2):
        (folder / f"train_{rank}_2.km").rename(folder / f"train_{rank}_4.km")


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (_lose, r"train_1_2\.km: no such label shard \(1 of 2 are missing\); dump it"),
        (_other_count, r"train_0_2\.km: no such label shard \(2 of 2 are missing\), but shards of 4: give that NSHARD"),
        (_copy, r"train_1_2\.km: the same as .*train_0_2\.km, so one of them is a copy"),
        (_cut, r"train_1_2\.km, line 2: ends within a line, so the shard was cut"),
        (_rewrite(""), r"train_1_2\.km: the shard is empty"),
        (_rewrite("\n"), r"train_1_2\.km, line 1: no labels"),
        (_rewrite("1 2\n\n3\n"), r"train_1_2\.km, line 2: no labels"),
        (_rewrite("1 x\n"), r"train_1_2\.km, line 1: expected cluster numbers, found b'x'"),
        (_rewrite("1 -1\n"), "found b'-1'"),
        (_rewrite("1 1.5\n"), "found b'1.5'"),
        (_rewrite("1 99999999999999999999\n"), "found b'99999999999999999999'"),
        (_rewrite("1 ²\n"), "expected cluster numbers"),
    ],
)
def test_odd_shards_are_refused_and_nothing_is_written(damage: Callable[[Path], None], complaint: str, shards: Path) -> None:
    damage(shards)
    before = sorted(path.name for path in shards.iterdir())
    with pytest.raises(SoftHubertError, match=complaint):
        merge_labels(shards, "train", 2)
    assert sorted(path.name for path in shards.iterdir()) == before


def test_the_number_of_shards_is_checked(shards: Path) -> None:
    with pytest.raises(SoftHubertError, match="NSHARD 0: expected 1 or more"):
        merge_labels(shards, "train", 0)
    with pytest.raises(SoftHubertError, match=r"other_0_2\.gmm: no such"):
        merge_labels(shards, "other", 2)


@pytest.mark.parametrize(
    ("lines", "complaint"), [("3\n4 4 0\n", "2 utterances, expected 3"), ("3\n4 4 0\n1\n2\n", "4 utterances, expected 3")]
)
def test_a_shard_with_other_utterances_than_the_manifest_is_refused(lines: str, complaint: str, shards: Path) -> None:
    (shards / "train_1_2.km").write_text(lines)
    with pytest.raises(SoftHubertError, match=rf"train_1_2\.km: {complaint}; dump the shard again"):
        merge_labels(shards, "train", 2, manifest=shards / "train.tsv")
    (shards / "train_1_2.km").write_text("3\n4 4 0\n1\n")
    assert "5 utterances" in merge_labels(shards, "train", 2, manifest=shards / "train.tsv")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"clusters": 8}', '{"clusters": "8", "utterances": 4}', "\ud800"])
def test_a_damaged_record_is_refused(content: str, shards: Path) -> None:
    (shards / "train_0_2.km.json").write_text(content, errors="surrogatepass")
    with pytest.raises(SoftHubertError, match=r"train_0_2\.km\.json.*"):
        merge_labels(shards, "train", 2)


def test_records_of_earlier_versions_have_no_rate_and_those_of_some_shards_say_nothing_of_the_whole(shards: Path) -> None:
    def describe(rank: int) -> None:
        labels = shards / f"train_{rank}_2.km"
        record = {
            "clusters": 5,
            "utterances": (2, 3)[rank],
            "source_sha256": "s",
            "manifest_sha256": "",
            "labels_sha256": sha256_of(labels),
        }
        (shards / f"train_{rank}_2.km.json").write_text(json.dumps(record))

    describe(0)
    merge_labels(shards, "train", 2)
    assert not (shards / "train.km.json").exists() and open_labels(shards, "train", "km").made_with == ""
    describe(1)
    merge_labels(shards, "train", 2)
    labels = open_labels(shards, "train", "km")
    assert (labels.made_with, labels.manifest_sha256, labels.label_rate) == ("s", "", None)


@pytest.mark.parametrize(
    "odd",
    [
        {"clusters": 0},
        {"label_rate": 0},
        {"label_rate": "100"},
        {"clusters": True},
        {"clusters": 8.0},
        {"utterances": -1},
        {"labels_sha256": None},
    ],
)
def test_a_record_with_odd_values_is_refused(odd: Dict[str, Optional[int]], shards: Path) -> None:
    texts = dict.fromkeys(("source_sha256", "manifest_sha256", "labels_sha256"), "")
    (shards / "train_0_2.km.json").write_text(json.dumps({"clusters": 8, "utterances": 2, **texts, **odd}))
    with pytest.raises(SoftHubertError, match="not the description of hard labels"):
        merge_labels(shards, "train", 2)


@pytest.mark.parametrize("symbols", ["0 1\n² 1\n", "0 1\n1 1\n1 1\n", "0 1\n1 1\n01 1\n", "0 1\nx 1\n", "0 1\n99999999999999999999 1\n"])
def test_a_dictionary_that_is_not_cluster_numbers_is_refused(symbols: str, shards: Path) -> None:
    (shards / "dict.km.txt").write_text(symbols)
    with pytest.raises(
        SoftHubertError, match=r"dict\.km\.txt: (expected cluster numbers|'1' is in line 2 and in line 3|cluster 01 is in line 2)"
    ):
        merge_labels(shards, "train", 2)
    with pytest.raises(
        SoftHubertError, match=r"dict\.km\.txt: (expected cluster numbers|'1' is in line 2 and in line 3|cluster 01 is in line 2)"
    ):
        HardLabels(shards / "train_0_2.km", shards / "dict.km.txt")


def test_a_large_cluster_number_takes_no_memory(shards: Path) -> None:
    (shards / "dict.km.txt").write_text("0 1\n999999999 1\n")
    (shards / "big.km").write_text("999999999 0\n")
    assert HardLabels(shards / "big.km", shards / "dict.km.txt").utterance(0).components.tolist() == [1, 0]
