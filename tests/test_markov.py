"""Mixtures with transitions: posteriors and paths compared with all paths, learning, the file, and the commands that take them."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.special import logsumexp, softmax

import softhubert_plugin
from softhubert_plugin.cli import main
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shard_chunks import plan_chunks
from softhubert_plugin.features.shards import ShardWriter, read_shard
from softhubert_plugin.gmm.calibration import calibrated_with_transitions
from softhubert_plugin.gmm.dump_gmm_posteriors import dump_gmm_posteriors
from softhubert_plugin.gmm.engine import Engine
from softhubert_plugin.gmm.forward_backward import DEEPEST, StickyChain, lifts
from softhubert_plugin.gmm.learn_gmm import GmmOptions, learn_gmm
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.gmm.smoothing import Smoother, frame_by_frame, smoothed, utterance_posteriors
from softhubert_plugin.gmm.training_data import divide
from softhubert_plugin.gmm.transition_learning import learn_full, learn_sticky, lengths_of
from softhubert_plugin.gmm.transitions import FullTransitions, StickyTransitions, Transitions
from softhubert_plugin.gmm.viterbi import PathFinder
from softhubert_plugin.labels.merge import merge_labels
from softhubert_plugin.labels.soft import open_soft_labels

K, D = 3, 2
INFO = {"kind": "mfcc", "frame_rate": 100.0, "manifest_sha256": "m" * 64}


def _mixture(transitions: Transitions, temperature: float = 1.0, spread: float = 1.5, components: int = K) -> GaussianMixture:
    rng = np.random.default_rng(5)
    return GaussianMixture(
        torch.from_numpy(rng.dirichlet(np.full(components, 2.0))),
        torch.from_numpy(spread * rng.standard_normal((components, D))),
        torch.from_numpy(rng.uniform(0.5, 2.0, (components, D))),
        temperature=temperature,
        transitions=transitions,
    )


def _full(components: int = K, seed: int = 1) -> FullTransitions:
    return FullTransitions(torch.from_numpy(np.random.default_rng(seed).dirichlet(np.full(components, 0.5), components)))


def _log_model(mixture: GaussianMixture, frames: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log initial, transition and emission terms, from the definitions: the densities are raised to the power 1/T."""
    densities = mixture.log_joint(torch.from_numpy(frames)).numpy() - mixture.weights.log().numpy()
    prior = softmax(mixture.weights.log().numpy() / mixture.temperature)
    if isinstance(mixture.transitions, StickyTransitions):
        matrix = mixture.transitions.stay * np.eye(len(prior)) + (1 - mixture.transitions.stay) * prior
    else:
        assert mixture.transitions is not None
        matrix = mixture.transitions.matrix.numpy()
    with np.errstate(divide="ignore"):
        return np.log(prior), np.log(matrix), densities / mixture.temperature


def _all_paths(mixture: GaussianMixture, frames: np.ndarray) -> Dict[Tuple[int, ...], float]:
    """The log probability of every path, up to a constant."""
    initial, matrix, emissions = _log_model(mixture, frames)
    return {
        path: initial[path[0]]
        + sum(matrix[i, j] for i, j in zip(path, path[1:]))
        + sum(emissions[frame, state] for frame, state in enumerate(path))
        for path in itertools.product(range(mixture.n_components), repeat=len(frames))
    }


def _in_logarithms(mixture: GaussianMixture, frames: np.ndarray) -> np.ndarray:
    """Posteriors by the textbook's recursions in the logarithmic domain, which cannot underflow."""
    initial, matrix, emissions = _log_model(mixture, frames)
    forward, backward = [initial + emissions[0]], [np.zeros(len(initial))]
    for emission in emissions[1:]:
        forward.append(emission + logsumexp(forward[-1][:, None] + matrix, axis=0))
    for emission in emissions[:0:-1]:
        backward.append(logsumexp(matrix + emission + backward[-1], axis=1))
    return softmax(np.asarray(forward) + np.asarray(backward[::-1]), axis=1)


@pytest.fixture(params=["sticky", "full"])
def transitions(request: pytest.FixtureRequest) -> Transitions:
    """Transitions of each kind."""
    return StickyTransitions(0.6) if request.param == "sticky" else _full()


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("length", [1, 2, 6])
def test_posteriors_are_sums_over_all_paths(transitions: Transitions, temperature: float, length: int) -> None:
    mixture = _mixture(transitions, temperature)
    frames = 2 * np.random.default_rng(0).standard_normal((length, D))
    expected = np.zeros((length, K))
    for path, value in _all_paths(mixture, frames).items():
        expected[np.arange(length), path] += np.exp(value)
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(utterance_posteriors(mixture, [torch.from_numpy(frames)])[0].numpy(), expected, atol=2e-6)
    single = np.concatenate(list(Smoother(Engine(mixture))(frames.astype(np.float32), np.asarray([length]))))
    np.testing.assert_allclose(single / single.sum(1, keepdims=True), expected, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_best_path_is_the_best_of_all_paths(transitions: Transitions, temperature: float) -> None:
    mixture = _mixture(transitions, temperature)
    find = PathFinder(mixture)
    for seed, length in enumerate([1, 2, 3, 6, 7, 7]):
        frames = 2 * np.random.default_rng(seed).standard_normal((length, D))
        paths = _all_paths(mixture, frames)
        found = tuple(find(mixture.log_joint(torch.from_numpy(frames))).tolist())
        assert paths[found] == pytest.approx(max(paths.values()), abs=1e-5)


def test_without_staying_frames_do_not_hear_each_other() -> None:
    mixture = _mixture(StickyTransitions(0.0), 2.5)
    frames = torch.randn(20, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(utterance_posteriors(mixture, [frames])[0], mixture.predict_proba(frames), atol=1e-9, rtol=0)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("spread", [0.01, 1.0, 60.0])
def test_densities_thousands_of_nats_apart_lose_nothing(transitions: Transitions, temperature: float, spread: float) -> None:
    mixture = _mixture(transitions, temperature, spread)
    frames = spread * np.random.default_rng(2).standard_normal((300, D))
    joint = mixture.log_joint(torch.from_numpy(frames))
    assert spread < 60 or float((joint.amax(1) - joint.amin(1)).max()) > 3000
    expected = _in_logarithms(mixture, frames)
    single = np.concatenate(list(Smoother(Engine(mixture))(frames.astype(np.float32), np.asarray([300]))))
    single /= single.sum(1, keepdims=True)
    assert np.isfinite(single).all()
    double = utterance_posteriors(mixture, [torch.from_numpy(frames)])[0].numpy()
    np.testing.assert_allclose(double, expected, atol=5e-6)  # a tiny share of all transitions is drawn from the weights
    # Densities in single precision are right to about 1e-5 of their size, which a temperature under one magnifies.
    near = (np.sort(expected, axis=1)[:, -1] > 0.999) | (temperature >= 1 and spread < 60)
    np.testing.assert_allclose(single[near], expected[near], atol=2e-3)


def test_single_precision_is_accurate_over_a_long_utterance() -> None:
    mixture = _mixture(StickyTransitions(0.3), 4.0, components=100)
    frames = 2 * np.random.default_rng(3).standard_normal((20_000, D)).astype(np.float32)
    double = utterance_posteriors(mixture, [torch.from_numpy(frames)])[0].numpy()
    single = np.concatenate(list(Smoother(Engine(mixture))(frames, np.asarray([len(frames)]))))
    np.testing.assert_allclose(single / single.sum(1, keepdims=True), double, atol=1e-5)


def test_impossible_transitions_and_components_of_no_weight_are_no_trouble() -> None:
    cycle = torch.eye(K, dtype=torch.float64).roll(1, dims=1)
    mixture = _mixture(FullTransitions(cycle))
    still = mixture.means[:1].expand(50, D)  # the cycle forbids what the frames show
    posteriors = utterance_posteriors(mixture, [still])[0]
    assert bool(torch.isfinite(posteriors).all())
    empty = replace(_mixture(StickyTransitions(0.9)), weights=torch.tensor([0.4, 0.6, 0.0], dtype=torch.float64))
    posteriors = utterance_posteriors(empty, [3 * torch.randn(50, D, dtype=torch.float64)])[0]
    assert bool(torch.isfinite(posteriors).all()) and float(posteriors[:, 2].max()) < 1e-9
    assert 2 not in PathFinder(empty)(empty.log_joint(empty.means[2:].expand(5, D)))


def test_an_utterance_has_the_same_bytes_whatever_is_beside_it(transitions: Transitions) -> None:
    mixture = _mixture(_full(40) if isinstance(transitions, FullTransitions) else transitions, 3.0, components=40)
    smoother = Smoother(Engine(mixture))
    rng = np.random.default_rng(4)
    lengths = np.asarray([1, 700, 3, 1, 5000, 64, 65, 700, *rng.integers(1, 90, 40)])
    frames = 2 * rng.standard_normal((lengths.sum(), D)).astype(np.float32)
    together = np.split(np.concatenate(list(smoother(frames, lengths))), np.cumsum(lengths)[:-1])
    for utterance, (rows, expected) in enumerate(zip(np.split(frames, np.cumsum(lengths)[:-1]), together)):
        alone = np.concatenate(list(smoother(rows, lengths[utterance : utterance + 1])))
        assert alone.tobytes() == expected.tobytes()


def _sampled(matrix: np.ndarray, means: np.ndarray, seed: int, lengths: List[int]) -> List[np.ndarray]:
    rng = np.random.default_rng(seed)
    utterances = []
    for length in lengths:
        states = [int(rng.integers(len(means)))]
        while len(states) < length:
            states.append(int(rng.choice(len(means), p=matrix[states[-1]])))
        utterances.append((means[states] + rng.standard_normal((length, means.shape[1]))).astype(np.float32))
    return utterances


def _write(folder: Path, utterances: List[np.ndarray], nshard: int = 1) -> None:
    for rank, some in enumerate(np.array_split(np.arange(len(utterances)), nshard)):
        with ShardWriter(folder, "train", rank, nshard, INFO) as writer:
            for index in some:
                writer.add(utterances[index])


MEANS = 2.5 * np.random.default_rng(8).standard_normal((4, 5))


def _known(weights: np.ndarray) -> GaussianMixture:
    return GaussianMixture(torch.from_numpy(weights), torch.from_numpy(MEANS), torch.ones(4, 5, dtype=torch.float64))


@pytest.fixture()
def speech(tmp_path: Path) -> Path:
    """Features whose components stay with a probability of 0.7, in utterances of many lengths; two have one frame."""
    matrix = 0.7 * np.eye(4) + 0.3 / 4
    lengths = [1, 1, *np.random.default_rng(0).integers(2, 400, 60).tolist()]
    _write(tmp_path, _sampled(matrix, MEANS, 1, lengths))
    return tmp_path


def test_learning_finds_how_long_components_last(speech: Path) -> None:
    shard = read_shard(speech, "train", 0, 1)
    chunks = plan_chunks([shard], [np.ones(len(shard), dtype=bool)], chunk_frames=1000, whole_utterances=True)
    assert np.concatenate([lengths_of(chunk) for chunk in chunks]).tolist() == shard.lengths.tolist()
    assert learn_sticky(_known(np.full(4, 0.25)), chunks, "cpu").stay == pytest.approx(0.7, abs=0.02)


def test_learning_finds_what_follows_what(tmp_path: Path) -> None:
    matrix = np.random.default_rng(2).dirichlet(np.full(4, 0.7), 4)
    _write(tmp_path, _sampled(matrix, MEANS, 3, [200] * 60))
    stationary = np.linalg.matrix_power(matrix, 200)[0]
    shard = read_shard(tmp_path, "train", 0, 1)
    chunks = plan_chunks([shard], [np.ones(60, dtype=bool)], whole_utterances=True)
    np.testing.assert_allclose(learn_full(_known(stationary), chunks, "cpu").matrix.numpy(), matrix, atol=0.04)


def test_only_real_neighbours_are_counted(tmp_path: Path) -> None:
    # Every other utterance is left out. Those left are constant, of another component each: there is no change within any of them.
    utterances = [np.repeat(MEANS[index % 4][None], 30, 0).astype(np.float32) for index in range(40)]
    _write(tmp_path, utterances)
    shard = read_shard(tmp_path, "train", 0, 1)
    chunks = plan_chunks([shard], [np.arange(40) % 2 == 0], whole_utterances=True)
    assert learn_sticky(_known(np.full(4, 0.25)), chunks, "cpu").stay > 0.99
    single = tmp_path / "single"
    _write(single, [utterance[:1] for utterance in utterances])
    shard = read_shard(single, "train", 0, 1)
    chunks = plan_chunks([shard], [np.ones(40, dtype=bool)], whole_utterances=True)
    assert learn_sticky(_known(np.full(4, 0.25)), chunks, "cpu").stay == 0


@pytest.mark.parametrize("kind", ["sticky", "full"])
def test_the_asked_perplexity_is_that_of_the_smoothed_posteriors(kind: str, speech: Path) -> None:
    shard = read_shard(speech, "train", 0, 1)
    data = divide([shard], speech, "train", n_components=4, percent=-1, seed=1)
    assert data.held_out_lengths.sum() == len(data.held_out)
    mixture, report = calibrated_with_transitions(_known(np.full(4, 0.25)), data, 2.0, "cpu", kind=kind, stay=None)
    held_out = np.split(data.held_out, np.cumsum(data.held_out_lengths)[:-1])
    posteriors = torch.cat(utterance_posteriors(mixture, [torch.from_numpy(rows) for rows in held_out]))
    perplexity = float(torch.special.entr(posteriors).sum(1).exp().mean())
    assert perplexity == pytest.approx(2.0, rel=1e-3) == mixture.metadata["perplexity"]
    frame_wise = frame_by_frame(mixture)
    alone = torch.special.entr(frame_wise.predict_proba(torch.from_numpy(data.held_out))).sum(1).exp().mean()
    assert float(alone) == pytest.approx(2.0, rel=1e-3) and frame_wise.transitions is None
    kept = mixture.metadata["transitions"]
    assert kept["repeats"] == pytest.approx(kept["repeats_at_temperature_1"], abs=1e-3)
    assert mixture.temperature > frame_wise.temperature and "with transitions, at temperature" in report[-1]


def test_a_probability_to_stay_that_is_given_is_kept(speech: Path) -> None:
    learn_gmm(speech, "train", 1, speech / "gmm", GmmOptions(4, perplexity=2.0, markov="sticky", stay=0.25))
    assert GaussianMixture.load(speech / "gmm").transitions == StickyTransitions(0.25)
    learn_gmm(speech, "train", 1, speech / "cold", GmmOptions(4, perplexity=None, markov="sticky"))
    cold = GaussianMixture.load(speech / "cold")
    assert cold.temperature == 1 and isinstance(cold.transitions, StickyTransitions)
    assert cold.transitions.stay == pytest.approx(0.7, abs=0.05)


def test_an_unreachable_perplexity_and_impossible_options_are_refused(speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learn = ["gmm", "learn", str(speech), "train", "1", str(speech / "gmm"), "4"]
    for words, complaint in (
        (["--markov", "sticky", "--perplexity", "4"], "perplexity 4.0: expected more than 1"),
        (["--stay", "0.5"], "--stay is the probability to stay of sticky transitions"),
        (["--markov", "full", "--stay", "0.5"], "--stay is the probability to stay of sticky transitions"),
        (["--markov", "sticky", "--stay", "1"], "--stay 1: expected a probability"),
        (["--markov", "sticky", "--stay", "nan"], "--stay: 'nan' is not a finite number"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([*learn, *words])
        assert stopped.value.code == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines[-1].startswith("softhubert: error: ") and complaint in lines[-1] and not (speech / "gmm").exists()
    with pytest.raises(SoftHubertError, match="2001 components: the maximum is 2000; use sticky"):
        learn_gmm(speech, "train", 1, speech / "gmm", GmmOptions(2001, markov="full"))


def test_two_processes_learn_the_same_transitions_as_one(speech: Path) -> None:
    learn_gmm(speech, "train", 1, speech / "one", GmmOptions(4, iterations=3, tolerance=-1.0, perplexity=2.0, markov="sticky"))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29631", "-m", "softhubert_plugin"]
    command += ["gmm", "learn", str(speech), "train", "1", str(speech / "two"), "4", "--iterations", "3", "--tolerance", "-1"]
    command += ["--perplexity", "2", "--markov", "sticky"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=Path(__file__).parents[1])
    one, two = (GaussianMixture.load(speech / name) for name in ("one", "two"))
    assert isinstance(one.transitions, StickyTransitions) and isinstance(two.transitions, StickyTransitions)
    assert two.transitions.stay == pytest.approx(one.transitions.stay, rel=1e-3)
    assert two.temperature == pytest.approx(one.temperature, rel=1e-3)


# The file


def test_transitions_are_saved_and_read_bit_for_bit(transitions: Transitions, tmp_path: Path) -> None:
    mixture = replace(_mixture(transitions, 2.0), metadata={"frame_wise": {"temperature": 1.5}})
    mixture.save(tmp_path / "gmm")
    loaded = GaussianMixture.load(tmp_path / "gmm")
    assert loaded.temperature == 2.0 and type(loaded.transitions) is type(transitions)
    if isinstance(transitions, FullTransitions):
        assert isinstance(loaded.transitions, FullTransitions) and torch.equal(loaded.transitions.matrix, transitions.matrix)
    else:
        assert loaded.transitions == transitions
    assert frame_by_frame(loaded).temperature == 1.5


def test_a_mixture_without_transitions_has_no_trace_of_them(speech: Path) -> None:
    learn_gmm(speech, "train", 1, speech / "gmm", GmmOptions(4, perplexity=2.0))
    assert b"transitions" not in (speech / "gmm").read_bytes() and b"markov" not in (speech / "gmm").read_bytes()
    assert GaussianMixture.load(speech / "gmm").transitions is None


def _without_checksum(path: Path, change: Callable[[Dict[str, torch.Tensor], Dict[str, Any]], None]) -> Path:
    """Write a mixture with a matrix as another program may, without a checksum, after a change."""
    mixture = _mixture(_full())
    tensors = {"weights": mixture.weights, "means": mixture.means, "covariances": mixture.covariances, "transitions": _full().matrix}
    described = {"covariance_type": "diag", "temperature": 1.0, "metadata": {}, "transitions": {"kind": "full"}}
    change(tensors, described)
    import json

    save_file(tensors, str(path), metadata={"softhubert-mixture": json.dumps(described)})
    return path


def _set(name: str, value: Any) -> Callable[[Dict[str, torch.Tensor], Dict[str, Any]], None]:
    def change(tensors: Dict[str, torch.Tensor], described: Dict[str, Any]) -> None:
        (tensors if isinstance(value, torch.Tensor) else described)[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_set("transitions", torch.full((K, K), 0.3, dtype=torch.float64)), "row 0 sums to 0.9"),
        (_set("transitions", torch.tensor([[1.2, -0.2, 0.0]] * K, dtype=torch.float64)), "smallest value is -0.2"),
        (_set("transitions", torch.full((K, K), float("nan"), dtype=torch.float64)), "finite float64"),
        (_set("transitions", torch.full((K, K), 1 / K, dtype=torch.float32)), "finite float64"),
        (_set("transitions", torch.full((K, 2), 0.5, dtype=torch.float64)), r"matrix \(K, K\), found \(3, 2\)"),
        (_set("transitions", torch.full((2, 2), 0.5, dtype=torch.float64)), r"needs transitions \(3, 3\), found \(2, 2\)"),
        (lambda tensors, described: tensors.pop("transitions"), "without a matrix"),
        (lambda tensors, described: described.pop("transitions"), "described as 'None'"),
        (_set("transitions", {"kind": "sticky", "stay": 0.5}), "'sticky'.*with a matrix"),
        (_set("transitions", {"kind": "left to right"}), "left to right"),
    ],
)
def test_damaged_transitions_are_refused_in_one_line(change: Any, complaint: str, tmp_path: Path) -> None:
    _without_checksum(tmp_path / "whole", lambda tensors, described: None)
    assert isinstance(GaussianMixture.load(tmp_path / "whole").transitions, FullTransitions)
    with pytest.raises(SoftHubertError, match=complaint) as refused:
        GaussianMixture.load(_without_checksum(tmp_path / "gmm", change))
    assert str(refused.value).startswith(f"{tmp_path / 'gmm'}: ") and "\n" not in str(refused.value)


@pytest.mark.parametrize("stay", [-0.1, 1.0, float("nan"), True, "0.5", None])
def test_an_impossible_probability_to_stay_is_refused(stay: Any, tmp_path: Path) -> None:
    def change(tensors: Dict[str, torch.Tensor], described: Dict[str, Any]) -> None:
        del tensors["transitions"]
        described["transitions"] = {"kind": "sticky", "stay": stay}

    with pytest.raises(SoftHubertError, match="probability to stay in a component is"):
        GaussianMixture.load(_without_checksum(tmp_path / "gmm", change))


def test_scikit_learn_cannot_express_transitions(transitions: Transitions) -> None:
    with pytest.raises(SoftHubertError, match="transitions; remove them first"):
        _mixture(transitions).to_sklearn()


# Labels


@pytest.fixture(params=["sticky", "full"])
def labelled(request: pytest.FixtureRequest, speech: Path) -> Path:
    """Features and a mixture with transitions, ``gmm``, fitted on them."""
    options = ["--perplexity", "2", "--markov", request.param, "--iterations", "5"]
    assert main(["gmm", "learn", str(speech), "train", "1", str(speech / "gmm"), "4", *options]) == 0
    return speech


def _dense(path: Path) -> List[np.ndarray]:
    labels = open_soft_labels(path)
    found = []
    for targets in map(labels.utterance, range(len(labels))):
        dense = np.zeros((len(targets), labels.n_components))
        dense[targets.frame_of_entry, targets.components] = targets.probabilities
        found.append(dense)
    return found


def test_dumped_labels_are_the_smoothed_posteriors(labelled: Path) -> None:
    mixture, shard = GaussianMixture.load(labelled / "gmm"), read_shard(labelled, "train", 0, 1)
    utterances = [torch.from_numpy(np.array(rows)) for rows in shard]
    exact = utterance_posteriors(mixture, utterances)
    report = dump_gmm_posteriors(labelled, "train", labelled / "gmm", 1, 0, labelled / "soft", mass=1.0)
    for found, expected in zip(_dense(labelled / "soft" / "train_0_1.gmm"), exact):
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    assert f"temperature {mixture.temperature:.3f}" in report
    dump_gmm_posteriors(labelled, "train", labelled / "gmm", 1, 0, labelled / "hard", hard=True)
    lines = (labelled / "hard" / "train_0_1.km").read_text().splitlines()
    assert lines == [" ".join(map(str, rows.argmax(1).tolist())) for rows in exact]
    dump_gmm_posteriors(labelled, "train", labelled / "gmm", 1, 0, labelled / "path", hard=True, viterbi=True)
    find = PathFinder(mixture)
    paths = [find(mixture.log_joint(rows)).tolist() for rows in utterances]
    assert (labelled / "path" / "train_0_1.km").read_text().splitlines() == [" ".join(map(str, path)) for path in paths]
    assert sum(map(len, lines)) == sum(len(" ".join(map(str, path))) for path in paths) and lines[0] == " ".join(map(str, paths[0]))


def test_frame_wise_labels_are_those_of_the_mixture_without_transitions(labelled: Path) -> None:
    frame_by_frame(GaussianMixture.load(labelled / "gmm")).save(labelled / "alone")
    for hard in (False, True):
        dump_gmm_posteriors(labelled, "train", labelled / "gmm", 1, 0, labelled / "one", frame_wise=True, hard=hard)
        dump_gmm_posteriors(labelled, "train", labelled / "alone", 1, 0, labelled / "other", hard=hard)
    one, other = (_dense(labelled / name / "train_0_1.gmm") for name in ("one", "other"))
    assert all(mine.tobytes() == theirs.tobytes() for mine, theirs in zip(one, other))
    assert (labelled / "one" / "train_0_1.km").read_bytes() == (labelled / "other" / "train_0_1.km").read_bytes()
    # On a mixture without transitions the option changes nothing.
    dump_gmm_posteriors(labelled, "train", labelled / "alone", 1, 0, labelled / "third", frame_wise=True)
    assert (labelled / "third" / "train_0_1.gmm").read_bytes() == (labelled / "other" / "train_0_1.gmm").read_bytes()


def test_labels_are_the_same_bytes_in_any_shards_and_with_any_number_of_threads(labelled: Path) -> None:
    utterances = [np.array(rows) for rows in read_shard(labelled, "train", 0, 1)]
    threads = torch.get_num_threads()
    try:
        for nshard, count in ((1, 1), (1, 3), (5, 2)):
            folder = labelled / f"{nshard}-{count}"
            _write(folder, utterances, nshard)
            torch.set_num_threads(count)
            for rank in range(nshard):
                dump_gmm_posteriors(folder, "train", labelled / "gmm", nshard, rank, folder)
                dump_gmm_posteriors(folder, "train", labelled / "gmm", nshard, rank, folder, hard=True)
            merge_labels(folder, "train", nshard)
            merge_labels(folder, "train", nshard, hard=True)
    finally:
        torch.set_num_threads(threads)
    assert (labelled / "1-1" / "train_0_1.gmm").read_bytes() == (labelled / "1-3" / "train_0_1.gmm").read_bytes()
    for name in ("1-3", "5-2"):
        assert (labelled / "1-1" / "train.km").read_bytes() == (labelled / name / "train.km").read_bytes()
        one, other = (open_soft_labels(labelled / each / "train.gmm") for each in ("1-1", name))
        for mine, theirs in zip(map(one.stored, range(len(one))), map(other.stored, range(len(other)))):
            assert all(a.tobytes() == b.tobytes() for a, b in zip(mine, theirs))


def test_labels_straight_from_audio_are_those_of_dumped_features(corpus: Path) -> None:
    assert main(["features", "mfcc", str(corpus), "train", "1", "0", str(corpus / "mfcc"), "--dtype", "float32"]) == 0
    learn_gmm(corpus / "mfcc", "train", 1, corpus / "gmm", GmmOptions(5, perplexity=2.0, markov="sticky"))
    dump_gmm_posteriors(corpus / "mfcc", "train", corpus / "gmm", 1, 0, corpus / "one")
    for rank in range(2):
        dump_gmm_posteriors(corpus, "train", corpus / "gmm", 2, rank, corpus / "two", audio="mfcc")
    merge_labels(corpus / "two", "train", 2)
    one, two = open_soft_labels(corpus / "one" / "train_0_1.gmm"), open_soft_labels(corpus / "two" / "train.gmm")
    assert len(one) == len(two) > 2
    for index in range(len(one)):
        assert all(mine.tobytes() == theirs.tobytes() for mine, theirs in zip(one.stored(index), two.stored(index)))


def test_frame_wise_labels_of_a_mixture_never_go_with_its_own(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    utterances = [np.array(rows) for rows in read_shard(labelled, "train", 0, 1)]
    _write(labelled, utterances, 2)
    for options in ([], ["--hard"]):
        temperature = [] if options else ["--temperature", "2"]
        dump = ["gmm", "dump", str(labelled), "train", str(labelled / "gmm"), "2"]
        assert main([*dump, "0", str(labelled / "lab"), *options, *temperature]) == 0
        assert main([*dump, "1", str(labelled / "lab"), *options, *temperature, "--frame-wise"]) == 0
    with pytest.raises(SoftHubertError, match="frame_wise is True, but False"):
        merge_labels(labelled / "lab", "train", 2)
    with pytest.raises(SoftHubertError, match="train_1_2.km"):
        merge_labels(labelled / "lab", "train", 2, hard=True)
    one, other = (open_soft_labels(labelled / "lab" / f"train_{rank}_2.gmm") for rank in range(2))
    assert one.info.mixture_sha256 == other.info.mixture_sha256 and one.source != other.source
    capsys.readouterr()
    assert main(["labels", "inspect", str(labelled / "lab" / "train_1_2.gmm")]) == 0
    assert '"frame_wise": true' in capsys.readouterr().out
    # Asked for again in the other way, labels are made again.
    assert main([*dump, "1", str(labelled / "lab"), "--temperature", "2"]) == 0
    assert "already there" not in capsys.readouterr().out
    merge_labels(labelled / "lab", "train", 2)


def test_a_path_needs_transitions_and_hard_labels(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame_by_frame(GaussianMixture.load(labelled / "gmm")).save(labelled / "alone")
    for name, words, complaint in (
        ("gmm", ["--viterbi"], "--viterbi: it goes with --hard"),
        ("gmm", ["--viterbi", "--hard", "--frame-wise"], "--viterbi: not --frame-wise"),
        ("alone", ["--viterbi", "--hard"], "alone has no transitions"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["gmm", "dump", str(labelled), "train", str(labelled / name), "1", "0", str(labelled / "lab"), *words])
        assert stopped.value.code == 2 and complaint in capsys.readouterr().err
    assert not (labelled / "lab").exists()


def test_memory_is_bounded_by_groups_of_utterances(monkeypatch: pytest.MonkeyPatch) -> None:
    import softhubert_plugin.gmm.smoothing as module

    mixture = _mixture(StickyTransitions(0.5), 2.0)
    lengths = np.asarray([5, 90, 4, 30, 1, 1, 60])
    frames = np.random.default_rng(0).standard_normal((lengths.sum(), D)).astype(np.float32)
    whole = np.concatenate(list(Smoother(Engine(mixture))(frames, lengths)))
    held: List[int] = []

    def counted(shares: np.ndarray, *rest: Any) -> Any:
        held.append(len(shares))
        return lifts(shares, *rest)

    monkeypatch.setattr(module, "_ENTRIES", 40 * K)
    monkeypatch.setattr(module, "lifts", counted)
    assert np.concatenate(list(Smoother(Engine(mixture))(frames, lengths))).tobytes() == whole.tobytes()
    assert held == [5, 90, 36, 60]


def test_a_mixture_of_one_component_is_certain() -> None:
    mixture = _mixture(StickyTransitions(0.5), components=1)
    assert utterance_posteriors(mixture, [torch.randn(3, D)])[0].tolist() == [[1.0]] * 3


def test_a_model_gives_the_posteriors_of_whole_utterances(corpus: Path, stock_checkpoint: Path) -> None:
    assert main(["features", "hubert", str(corpus), "train", str(stock_checkpoint), "2", "1", "0", str(corpus / "layer2")]) == 0
    learn_gmm(corpus / "layer2", "train", 1, corpus / "gmm", GmmOptions(5, perplexity=2.0, markov="sticky"))
    model = softhubert_plugin.load(stock_checkpoint, mixture=corpus / "gmm")
    generator = torch.Generator().manual_seed(0)
    waveforms = [0.1 * torch.randn(length, generator=generator) for length in (16_000, 400, 9_000)]
    posteriors, frames = model.posteriors(waveforms)
    features, _ = model.extract_features(waveforms, 2)
    mixture = GaussianMixture.load(corpus / "gmm")
    for row, count in enumerate(frames.tolist()):
        expected = utterance_posteriors(mixture, [features[row, :count]])[0]
        torch.testing.assert_close(posteriors[row, :count].double(), expected, atol=1e-6, rtol=0)
        assert not posteriors[row, count:].any()
        alone, _ = model.posteriors(waveforms[row])
        torch.testing.assert_close(alone[0], posteriors[row, :count], atol=1e-5, rtol=0)
    frame_wise, _ = model.posteriors(waveforms, frame_wise=True)
    expected = frame_by_frame(mixture).predict_proba(features[0, : int(frames[0])])
    torch.testing.assert_close(frame_wise[0, : int(frames[0])].double(), expected, atol=1e-6, rtol=0)
    assert float((frame_wise - posteriors).abs().max()) > 1e-3


def test_transitions_are_added_to_a_mixture_that_stays_as_it_is(speech: Path) -> None:
    learn_gmm(speech, "train", 1, speech / "first", GmmOptions(4, perplexity=2.0, markov="full"))
    options = GmmOptions(4, perplexity=2.0, iterations=0, init=str(speech / "first"), markov="sticky")
    learn_gmm(speech, "train", 1, speech / "second", options)
    first, second = (GaussianMixture.load(speech / name) for name in ("first", "second"))
    assert torch.equal(first.means, second.means) and torch.equal(first.covariances, second.covariances)
    assert isinstance(second.transitions, StickyTransitions) and second.metadata["iterations"] == 0
    learn_gmm(speech, "train", 1, speech / "third", replace(options, markov=None))
    third = GaussianMixture.load(speech / "third")
    assert third.transitions is None and "frame_wise" not in third.metadata
    assert third.temperature == frame_by_frame(second).temperature


@pytest.mark.parametrize("stay", [0.1, 0.5, 0.9, 0.99])
def test_lifts_of_a_rare_component_that_stays_do_not_overflow(stay: float) -> None:
    frames = np.tile(np.asarray([math.exp(DEEPEST), 1], np.float32), (40, 1))
    for exponent in np.arange(1, 13, 0.25):
        rare = 10.0**-exponent
        chain = StickyChain(stay, np.asarray([1 - rare, rare], np.float32))
        posteriors = np.concatenate(list(smoothed(frames.copy(), np.asarray([40]), chain)))
        assert np.isfinite(posteriors).all() and (posteriors[:, 1] > posteriors[:, 0]).all()
