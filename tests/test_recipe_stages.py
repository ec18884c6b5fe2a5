"""The stages of recipes: options combine, what is common is done once, and every command can be parsed by the program that it starts."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, Dict, List

import pytest
from omegaconf import OmegaConf

from softhubert_plugin.cli import build_parser, main
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.recipes.road import all_stages
from softhubert_plugin.recipes.stages import Graph, Stage
from softhubert_plugin.recipes.study import Study, Training
from softhubert_plugin.recipes.systems import parse_systems

REPOSITORY = Path(__file__).parents[1]
CONFIGS = REPOSITORY / "config"


def _planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> Dict[str, List[List[str]]]:
    """The commands of each stage of a recipe."""
    assert main(["recipe", *arguments, "--dry-run"]) == 0
    stages: Dict[str, List[List[str]]] = {}
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("# "):
            stages[line[2:]] = []
        else:
            list(stages.values())[-1].append(shlex.split(line))
    return stages


@pytest.fixture()
def data(tmp_path: Path) -> Path:
    """A folder of manifests with names of its own."""
    for split in ("mine", "check", "near", "far"):
        for suffix in ("tsv", "wrd", "ltr"):
            (tmp_path / f"{split}.{suffix}").write_text("")
    (tmp_path / "dict.ltr.txt").write_text("")
    return tmp_path


SYSTEMS = "km km-soft gmm gmm,perplexity=8 gmm-argmax gmm-smooth gmm-shuffle gmm,size=small distil"
RECIPES = {
    "quickstart": ["quickstart", "--systems", SYSTEMS],
    "quickstart with seeds": ["quickstart", "--seeds", "1 2 3"],
    "quickstart, one control": ["quickstart", "--systems", "gmm-shuffle"],
    "librispeech": ["librispeech", "--systems", SYSTEMS, "--corpus", "/c"],
    "librispeech, subsets with names": [
        *("librispeech", "--config", "tiny", "--subsets", "train-clean-100 dev-clean test-clean", "--train", "train-clean-100"),
        *("--valid", "dev-clean", "--tests", "test-clean"),
    ],
    "librispeech, base": ["librispeech", "--config", "base", "--systems", SYSTEMS, "--seeds", "1 2", "--nshard", "3"],
    "librispeech, alignments": ["librispeech", "--config", "base", "--alignments", "/phones", "--device", "cuda:1"],
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_command_is_one_that_its_program_takes(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = build_parser()
    for name, commands in _planned(capsys, *RECIPES[recipe]).items():
        for command in commands:
            if command[0] == "softhubert":
                parser.parse_args(command[1:])
            elif command[0] == "fairseq-hydra-train":
                folder, config = command[command.index("--config-dir") + 1], command[command.index("--config-name") + 1]
                cfg = OmegaConf.load(Path(folder) / f"{config}.yaml")
                for key in (word.partition("=")[0] for word in command[5:] if not word.startswith("+")):
                    group, _, setting = key.partition(".")
                    assert key == "hydra.run.dir" or setting in list(cfg[group]), f"{name}: {config} has no {key}"
            else:
                assert command[0] in ("rm", "mkdir", "touch"), command


def test_what_systems_have_in_common_is_done_once(capsys: pytest.CaptureFixture[str]) -> None:
    stages = _planned(capsys, "quickstart", "--systems", SYSTEMS, "--seeds", "1 2")
    assert [name for name in stages if name.startswith(("mfcc", "corpus"))] == ["corpus", "mfcc"]
    assert "labels-gmm-small" not in stages and "labels-distil" not in stages
    mixtures = ["mixture", "mixture-p8", "mixture-seed2", "mixture-p8-seed2"]
    assert [name for name in stages if name.startswith("mixture")] == mixtures
    assert [name for name in stages if name.startswith("kmeans")] == ["kmeans", "kmeans-soft", "kmeans-seed2", "kmeans-soft-seed2"]
    assert [name for name in stages if re.match("labels-gmm-s(mooth|huffle)", name)] == [
        f"labels-gmm-{control}{seed}" for seed in ("", "-seed2") for control in ("smooth", "shuffle")
    ]


def test_a_seed_changes_clustering_initialisation_and_fine_tuning_together_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    stages = _planned(capsys, "quickstart", "--systems", "km gmm gmm-shuffle", "--seeds", "5 6")
    for name in ("kmeans", "mixture", "labels-gmm-shuffle"):
        assert "5" in stages[name][-1] and stages[f"{name}-seed6"][-1][-1] == "6"
    for system, kind in itertools.product(("km", "gmm", "gmm-shuffle"), ("pretrain", "finetune")):
        assert "common.seed=5" in stages[f"{kind}-{system}"][-1] and "common.seed=6" in stages[f"{kind}-{system}-seed6"][-1]
    assert stages["corpus"][0][-2:] == ["--seed", "5"]
    assert [Path(folder).parent.parent.name == "seed6" for folder in stages["report"][-1][2:-2]] == [False, True] * 3


def test_seeds_can_be_added_to_an_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    one, more = (_planned(capsys, "quickstart", "--seeds", seeds) for seeds in ("1", "1 2 3"))
    assert {name: more[name] for name in one if name != "report"} == {name: commands for name, commands in one.items() if name != "report"}


def test_systems_of_one_mixture_share_it_and_their_labels(capsys: pytest.CaptureFixture[str]) -> None:
    systems = "gmm gmm,pooling=pick gmm,markov=sticky gmm-argmax,markov=sticky gmm,markov=full,perplexity=2"
    stages = _planned(capsys, "quickstart", "--systems", systems)
    assert [name for name in stages if name.startswith("mixture")] == ["mixture", "mixture-sticky", "mixture-p2-full"]
    assert [name for name in stages if name.startswith("labels")] == [
        *("labels-gmm", "labels-gmm-sticky", "labels-gmm-argmax-sticky", "labels-gmm-p2-full"),
    ]
    assert "task.label_pooling=pick" in stages["pretrain-gmm-pick"][-1]
    assert not any("task.label_pooling" in word for word in stages["pretrain-gmm"][-1])
    assert "--hard" in stages["labels-gmm-argmax-sticky"][0] and stages["mixture-sticky"][0][-4:-2] == ["--markov", "sticky"]


def test_a_study_may_have_a_second_iteration_a_language_model_and_a_split_to_probe_on(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(data), "--train", "mine", "--valid", "check", "--tests", "near", "--alignments", "/phones"]
    systems = ["--systems", "km gmm gmm-shuffle gmm,size=small", "--seeds", "1 2"]
    stages = _planned(capsys, "study", *options, *systems, "--iterations", "2", "--lm", "--probe", "far")
    for system, seed in itertools.product(("km", "gmm", "gmm-shuffle", "gmm-small"), ("", "-seed2")):
        folder = re.sub("/layer$", "", stages[f"layer-{system}{seed}"][0][9])
        assert folder.endswith(f"systems/{system}/iteration2")
        assert f"@{Path(folder).parent}/iteration1/layers.json" in stages[f"layer-{system}{seed}"][0]
        assert any(f"task.label_dir={folder}/labels/" in word for word in stages[f"pretrain-{system}-2{seed}"][-1])
        assert f"model.w2v_path={Path(folder).parent}/pretrain2/checkpoints/checkpoint_last.pt" in stages[f"finetune-{system}{seed}"][-1]
        assert all(stages[f"probe-{system}{name}{seed}"][0][2:4] == [str(data), "far"] for name in ("", "-2"))
        assert sum("--lm" in command for command in stages[f"decode-{system}{seed}"]) == 2  # tuning, and decoding of the one test split
    with pytest.raises(SystemExit):
        main(["recipe", "study", *options[:-2], "--iterations", "2", "--dry-run"])
    assert "needs --alignments" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", ["study", "librispeech"])
def test_a_language_model_without_kenlm_is_refused_before_training(
    recipe: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softhubert_plugin.requirements.installed_version", lambda name: None if name == "kenlm" else "1")
    options = ["--data", str(data), "--train", "mine", "--valid", "check", "--tests", "near", "--exp", str(tmp_path / "exp")]
    with pytest.raises(SystemExit):
        main(["recipe", recipe, *options, *(["--lm"] if recipe == "study" else ["--config", "tiny"])])
    assert "stage decode-km needs kenlm" in capsys.readouterr().err
    assert not (tmp_path / "exp" / "logs").exists()


def test_saved_runs_are_not_run_again(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["study", "--data", str(data), "--train", "mine", "--valid", "check", "--tests", "near", "--systems", "km gmm distil"]
    options += ["--compare", "gmm", "distil", "--compare", "km", "gmm"]
    options += ["--seeds", "1 2", "--results", str(data / "results")]
    everything = _planned(capsys, *options)
    saved = [everything[f"save-{system}{seed}"][0][-1] for seed in ("", "-seed2") for system in ("km", "gmm", "distil")]
    assert [Path(file).name for file in saved] == [f"{system}-seed{seed}.json" for seed in (1, 2) for system in ("km", "gmm", "distil")]
    assert sorted(everything["report"][0][2:8]) == sorted(saved) and everything["report"][0][2].endswith("/km-seed1.json")
    assert everything["report"][0][10:] == ["--compare", "soft GMM", "distilled student", "--compare", "hard k-means", "soft GMM"]
    facts = dict(fact.split("=") for fact in everything["save-km"][0][4:-4])
    (data / "results").mkdir()

    def save(*names: str, **settings: str) -> None:
        for name in names:
            run = {"settings": {**facts, **settings}, "scores": {"near": {}}}
            (data / "results" / f"{name}.json").write_text(json.dumps(run))

    save("km-seed1", "gmm-seed1", "gmm-seed2")
    left = _planned(capsys, *options)
    assert "pretrain-gmm" not in left and "mixture" not in left and "save-gmm-seed2" not in left
    assert {"pretrain-km", "pretrain-distil", "save-distil", "save-km-seed2"} <= set(left)  # the student needs its teacher,
    assert "finetune-km" not in left and "save-km" not in left  # no more of it
    save("km-seed1", "km-seed2", "distil-seed1", "distil-seed2")
    assert set(_planned(capsys, *options)) == {"validation", "report"}
    (data / "results" / "km-seed1.json").write_text("[]")
    with pytest.raises(SystemExit):
        main(["recipe", *options, "--dry-run"])
    assert "km-seed1.json: not a saved run; remove it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("saved", "options", "said"),
    [
        ({"clusters": 7}, [], "with clusters=7, but clusters=100 is"),
        ({"validation": "check, 200 utterances"}, ["--valid", "far"], "with validation=check, 200 utterances, but validation=far, 200"),
        ({}, ["--tests", "far"], "without a score of far"),
        ({"search": "greedy"}, ["--lm"], "with search=greedy, but search=trigram, beam 10 is"),
        ({}, ["--lm"], "without a score of near-lm"),
        ({"clusterers fitted on": "all"}, ["--percent", "0.01"], "with clusterers fitted on=all, but clusterers fitted on=a share of 0.01"),
        ({"pretraining updates": 9}, [], "with pretraining updates=9, but pretraining updates=as configured"),
        ({"corpus": "other mine"}, [], "with corpus=other mine"),
        ({"corpus": ""}, [], "with corpus=, but"),
        ({}, ["--config", "base"], "with configuration=tiny, but configuration=base"),
        ({"configuration": "base"}, [], "with configuration=base, but configuration=tiny"),
    ],
)
def test_a_saved_run_of_other_settings_is_refused_and_one_of_an_earlier_version_is_not(
    saved: Dict[str, Any], options: List[str], said: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = ["study", "--data", str(data), "--train", "mine", "--valid", "check", "--tests", "near", "--systems", "km", "--seeds", "1"]
    settings = {"corpus": f"{data.name} mine", "clusters": 100, "iterations": 1}  # an earlier version told no more
    file = tmp_path / "km-seed1.json"
    file.write_text(json.dumps({"settings": settings, "scores": {"near": {}}}))
    assert set(_planned(capsys, *study, "--results", str(tmp_path))) == {"validation", "report"}
    file.write_text(json.dumps({"settings": {**settings, **saved}, "scores": {"near": {}}}))
    with pytest.raises(SystemExit):
        main(["recipe", *study, *options, "--results", str(tmp_path), "--dry-run"])
    assert f"km-seed1.json: a run {said}" in capsys.readouterr().err


def test_letters_are_aligned_by_the_baseline_whether_its_run_is_saved_or_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["librispeech", "--corpus", "/c", "--systems", "km gmm", "--seeds", "1 2", "--results", str(tmp_path)]
    stages = _planned(capsys, *options)
    facts = dict(fact.split("=", 1) for fact in stages["save-km"][0][4:-4])
    scores = {name: {} for test in ("test", "near") for name in (test, f"{test}-lm")}
    scores.update({name: {} for name in facts["tests"].split()}, **{f"{name}-lm": {} for name in facts["tests"].split()})
    for system in ("km", "gmm"):
        (tmp_path / f"{system}-seed1.json").write_text(json.dumps({"settings": facts, "scores": scores}))
    left = set(_planned(capsys, *options))
    assert {"pretrain-km", "aligner", "align", "pretrain-gmm-seed2"} <= left and not {"finetune-km", "mixture", "save-km"} & left
    for system in ("km", "gmm"):
        (tmp_path / f"{system}-seed2.json").write_text(json.dumps({"settings": facts, "scores": scores}))
    assert set(_planned(capsys, *options)) == {"data", "validation", "report"}


@pytest.mark.parametrize("tiny", [True, False])
def test_what_a_tiny_model_learns_does_not_depend_on_what_runs_beside_it(tiny: bool) -> None:
    systems = tuple(parse_systems("km km-soft gmm gmm,perplexity=8 gmm,markov=sticky"))
    training = Training(tiny, (None,), None, run="" if tiny else "one_gpu")
    study = Study("/e", "/d", "train", "valid", ("test",), (1,), systems, (100, 100), training, alignments="/phones")
    learning = ("kmeans", "mixture", "pretrain", "probe", "finetune")
    threads = {stage.name: stage.threads for stage in all_stages(study) if stage.name.startswith(learning)}
    assert len(threads) > 20 and set(threads.values()) == {1 if tiny else 0}


@pytest.mark.parametrize("name", ["exp (copy)", "Müller", "lr=0.1", "it's", "a,b", "日本語", "{x}", "50 %"])
def test_any_name_of_a_folder_gets_through_hydras_grammar(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    stages = _planned(capsys, "quickstart", "--exp", f"/nowhere/{name}", "--systems", "km")
    for stage in ("pretrain-km", "finetune-km"):
        overrides = {each.key_or_group: each.value() for each in OverridesParser.create().parse_overrides(stages[stage][-1][5:])}
        assert overrides["task.data"] == f"/nowhere/{name}/data" and overrides["hydra.run.dir"].startswith(f"/nowhere/{name}/systems/km/")
        assert overrides["task.label_dir"].startswith(f"/nowhere/{name}/") and overrides["common.seed"] == 1


def test_alignments_that_change_are_measured_with_again(data: Path, tmp_path: Path) -> None:
    def key() -> str:
        graph = Graph([Stage("probe", (("softhubert", "probe"),), reads=(str(tmp_path / "phones"), str(tmp_path / "a.tsv")))])
        return graph.keys["probe"]

    keys = [key()]
    (tmp_path / "phones" / "reader").mkdir(parents=True)
    for name in ("one", "two"):
        (tmp_path / "phones" / "reader" / f"{name}.TextGrid").write_text(name)
        keys.append(key())
    (tmp_path / "phones" / "reader" / "two.TextGrid").write_text("other")
    (tmp_path / "phones" / "gone").symlink_to("nowhere")
    keys.append(key())
    assert len(set(keys)) == 4 and key() == keys[-1]


@pytest.mark.parametrize(
    ("options", "trains_on", "listed"),
    [
        (["--subsets", "train-clean-100"], "dataset.train_subset=train", "--by-speaker"),
        (["--finetune", "base_10h"], "", "--limited 10h"),
        (["--finetune", "base_1h"], "", "--limited 1h"),
        (["--finetune", "base_960h"], "", "--combine train-960"),
    ],
)
def test_base_is_fine_tuned_on_a_set_that_is_listed(
    options: List[str], trains_on: str, listed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = _planned(capsys, "librispeech", "--config", "base", "--corpus", "/c", "--systems", "km", *options)
    tuned = stages["finetune-km"][-1]
    assert (trains_on in tuned) == bool(trains_on) and listed in " ".join(stages["data"][0])


def test_any_corpus_with_manifests_goes_through_every_recipe(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = ["--data", str(data), "--train", "mine", "--valid", "check", "--tests", "near far"]
    for recipe in (["study"], ["librispeech"], ["librispeech", "--config", "base"]):
        stages = _planned(capsys, *recipe, *splits)
        said = [" ".join(command) for commands in stages.values() for command in commands]
        assert not any("manifest librispeech" in line or "train-clean" in line for line in said)
        assert f"softhubert manifest subset {data} check check-200 --utterances 200" in said
        trainings = [line for line in said if "config/pretrain" in line]
        assert trainings and all("train_subset=mine" in line and "valid_subset=check-200" in line for line in trainings)
        assert all(any(f"decode {data} {test} " in line for line in said) for test in ("near", "far"))
        assert not any("tune" in line and "check-200" in line for line in said if "softhubert tune" in line)


def test_a_study_may_be_of_base_models_of_which_a_short_training_is_in_proportion(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = ["--data", str(data), "--train", "mine", "--valid", "check", "--tests", "near"]
    options = [*splits, "--config", "base", "--pretrain-run", "one_hopper"]
    lengths = ["--pretrain-updates", "3000", "--finetune-updates", "2000"]
    stages = _planned(capsys, "study", *options, *lengths, "--systems", "km gmm", "--lm")
    pretraining, tuning = (" ".join(stages[name][-1]) for name in ("pretrain-gmm", "finetune-gmm"))
    assert "--config-name soft_hubert_base_librispeech " in pretraining and " +run=one_hopper " in pretraining
    assert pretraining.endswith("optimization.max_update=3000 lr_scheduler.warmup_updates=384")  # 32,000 of 250,000
    assert "--config-name base_10h " in tuning and " dataset.train_subset=mine " in tuning and "max_tokens" not in tuning
    proportion = "lr_scheduler.warmup_steps=640 lr_scheduler.decay_steps=5760 model.freeze_finetune_updates=800"  # 2,000 of 25,000
    assert tuning.endswith(f"optimization.max_update=2000 {proportion}")
    assert all("--beam 500" in " ".join(command) for command in stages["decode-gmm"] if command[1] in ("tune", "decode"))

    whole = _planned(capsys, "study", *options, "--systems", "km gmm", "--finetune", "base_1h")
    said = " ".join(word for name in ("pretrain-gmm", "finetune-gmm") for word in whole[name][-1])
    assert "warmup" not in said and "max_update" not in said and "--config-name base_1h " in said
    tiny = _planned(capsys, "study", *splits, *lengths)
    assert not any("warmup" in word for commands in tiny.values() for command in commands for word in command)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quickstart", "--systems", "kmeans"], "'kmeans' is none of km, km-soft"),
        (["quickstart", "--systems", "gmm gmm"], "each once"),
        (["quickstart", "--systems", "distil km"], "first one with targets"),
        (["quickstart", "--systems", "gmm,perplexity=0.5"], r"expected perplexity=NUMBER \(above 1\)"),
        (["quickstart", "--systems", "gmm,perplexity=1"], r"expected perplexity=NUMBER \(above 1\)"),
        (["quickstart", "--systems", "km gmm,perplexity=50"], "gmm has perplexity 50; expected more than 1 and less than 50"),
        (["quickstart", "--perplexity", "1"], "gmm has perplexity 1; expected more than 1"),
        (["librispeech", "--percent", "10"], "--percent 10: expected a share from 0 to 1"),
        (["quickstart", "--systems", "km,markov=sticky"], "markov=sticky or markov=full"),
        (["quickstart", "--systems", "gmm-argmax,pooling=pick"], r"pooling=pick \(of soft labels\)"),
        (["quickstart", "--compare", "km", "gmm,perplexity=8"], "gmm-p8 is not one of --systems 'km gmm'"),
        (["quickstart", "--systems", "@nowhere"], "no such file"),
        (["quickstart", "--seeds", "1 1"], "each once"),
        (["quickstart", "--seeds", "one"], "'one' is not a whole number from 0 to"),
        (["quickstart", "--seeds", "1 4294967296"], "'4294967296' is not a whole number from 0 to"),
        (["quickstart", "--seed", "1", "--seeds", "1 2"], "in --seeds or --seed"),
        (["quickstart", "--corpus", "digits", "--root", "/nowhere"], "/nowhere: no such folder"),
        (["quickstart", "--test-speaker", "theo"], "--test-speaker is for --corpus digits"),
        (["librispeech", "--stage", "5", "--stop-stage", "3"], "stages are 0 to 10, in order"),
        (["librispeech", "--data", "/nowhere"], "--data needs --train, --valid and --tests"),
        (["study", "--data", "/nowhere", "--train", "a", "--valid", "b", "--tests", "c"], r"/nowhere/a\.tsv: no such file"),
        (["librispeech", "--subsets", "a b", "--valid", "c", "--tests", "b"], "c is not one of --subsets"),
        (["librispeech", "--config", "base", "--pretrain-run", "nine_gpus"], "--pretrain-run nine_gpus: expected one of four_gpus, hopper"),
        (
            ["librispeech", "--config", "base", "--subsets", "train-clean-360 dev-other test-clean test-other"],
            "base_100h trains on train-clean",
        ),
        (["quickstart", "--stage", "6", "--stop-stage", "6"], "this recipe has no such stages; it has 0 1 2 3 4 8 9 10"),
        (["quickstart", "--compare", "km", "km"], "--compare: expected pairs of two systems, each pair once"),
        (["quickstart", "--compare", "km", "gmm", "--compare", "gmm", "km"], "each pair once"),
        (["librispeech", "--finetune", "base_100"], "--finetune base_100: expected one of base_100h, base_10h"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_done(
    arguments: List[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["recipe", *arguments, "--exp", str(tmp_path / "exp"), "--dry-run"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1 and re.search(message, said)
    assert not (tmp_path / "exp").exists()


def test_systems_are_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "systems").write_text("# the baseline\nkm\n\ngmm, perplexity=8   # softer\ngmm,size=small\n")
    systems = parse_systems(f"@{tmp_path / 'systems'}", 2.0)
    assert [(system.name, system.perplexity, system.small) for system in systems] == [
        ("km", 2, False),
        ("gmm-p8", 8, False),
        ("gmm-p2-small", 2, True),
    ]
    with pytest.raises(SoftHubertError, match="expected systems"):
        parse_systems("")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--alignments", "/no/such/folder"], "--alignments /no/such/folder: not there"),
        (["--probe", "nosplit"], r"nosplit\.tsv: no such file"),
        (["--exp", "/proc/version"], "/proc/version: cannot be written"),
        (["--exp", "/proc/version/exp"], "cannot be written"),
        (["--exp", "/tmp/l\udce9"], "the name is not UTF-8"),
    ],
)
def test_what_a_later_stage_would_miss_is_refused_at_the_start(
    options: List[str], said: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = ["study", "--data", str(data), "--train", "mine", "--valid", "check", "--tests", "near", "--exp", str(data / "exp")]
    with pytest.raises(SystemExit) as ended:
        main(["recipe", *study, *options])
    assert ended.value.code == 2 and re.search(said, capsys.readouterr().err) and not (data / "exp").exists()


def test_manifests_without_letters_are_refused_at_the_start(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "dict.ltr.txt").unlink()
    with pytest.raises(SystemExit):
        main(["recipe", "study", "--data", str(data), "--train", "mine", "--valid", "check", "--tests", "near", "--dry-run"])
    assert "dict.ltr.txt: no such file; make it with 'softhubert manifest'" in capsys.readouterr().err


def test_a_named_device_reaches_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    commands = {"gmm learn", "gmm dump", "features hubert", "probe", "tune", "decode", "align"}
    for device in ("cuda:1", "cpu"):
        planned = [" ".join(line) for lines in _planned(capsys, "librispeech", "--device", device).values() for line in lines]
        having = [line for line in planned if any(f"softhubert {command} " in line for command in commands)]
        assert {command for command in commands for line in having if f" {command} " in line} == commands
        assert all(line.count(f"--device {device}") == 1 for line in having)
    planned = [" ".join(line) for lines in _planned(capsys, "librispeech").values() for line in lines]
    assert not any("--device" in line for line in planned)


def test_a_stage_range_prints_those_stages_only(capsys: pytest.CaptureFixture[str]) -> None:
    everything = list(_planned(capsys, "librispeech"))
    parts = [list(_planned(capsys, "librispeech", "--stage", str(number), "--stop-stage", str(number))) for number in range(11)]
    assert sorted(itertools.chain(*parts)) == sorted(everything) and all(parts)


@pytest.mark.parametrize("recipe", ["quickstart", "librispeech", "study"])
def test_a_script_explains_itself_without_an_installation(recipe: str, tmp_path: Path) -> None:
    command = ["bash", str(REPOSITORY / "examples" / recipe / "run.sh"), "--help"]
    environment = {**os.environ, "SOFTHUBERT_VENV": str(tmp_path / "none")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path)
    assert "--systems" in done.stdout and "--seeds" in done.stdout and not (tmp_path / "none").exists()
