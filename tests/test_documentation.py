"""The commands in the documentation: the program, script or configuration that each one names must accept it."""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest
from omegaconf import DictConfig, OmegaConf

from softhubert_plugin.cli import build_parser
from softhubert_plugin.labels.soft import open_soft_labels

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted(REPOSITORY.glob("docs/*.md"))
DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "CHANGELOG.md", *PAGES]
DOCUMENTS += sorted([*REPOSITORY.glob("examples/*/README.md"), REPOSITORY / "manifests" / "README.md"])
CONFIGURATIONS = sorted((REPOSITORY / "config").rglob("*.yaml"))
# fairseq has these settings in every run, so a configuration need not list them.
COMMON = ("common.", "checkpoint.", "dataset.", "optimization.", "distributed_training.", "common_eval.", "hydra.", "hydra/")


def _unfolded(lines: List[str]) -> Iterator[str]:
    """Join each line that ends in a backslash with the next one."""
    command = ""
    for line in lines:
        command += line.strip()
        if command.endswith("\\"):
            command = command[:-1]
        elif command:
            yield command
            command = ""


def _commands(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        yield from _unfolded([line[1:] for line in text.splitlines() if re.match(r"#   ", line)])
        return
    for block in re.findall(r"^```(?:sh|bash)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        yield from _unfolded(block.splitlines())
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (" ".join(inline.split()) for inline in re.findall(r"`([^`]+)`", text))


def _of(program: str, paths: List[Path]) -> List[Any]:
    """Find every command of a program, as ``(path, words)``, without comments and without what comes after a pipe."""
    found = []
    for path in paths:
        for command in _commands(path):
            for part in re.split(r"\s[|;]\s|\s&&\s", command):
                if re.match(rf"{program}(\s|$)", part):
                    words = shlex.split(part, comments=True)
                    found.append(pytest.param(path, words, id=f"{path.relative_to(REPOSITORY)}: {' '.join(words)[:60]}"))
    return found


def _accepts(words: List[str]) -> None:
    try:
        build_parser().parse_args(words)
    except SystemExit as stopped:
        assert stopped.code == 0, words


@pytest.mark.parametrize(("path", "words"), _of("softhubert", DOCUMENTS))
def test_a_softhubert_command_parses(path: Path, words: List[str], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = words[1:]
    if arguments[-1:] == ["-h"] and arguments[0].isupper():  # "softhubert COMMAND -h" stands for every command
        return
    known = _names(build_parser())
    named = next((arguments[:length] for length in (2, 1) if tuple(arguments[:length]) in known), None)
    assert named is not None, f"no such command: {arguments}"
    if arguments != named or not known[tuple(named)]:  # a command named in a sentence has no arguments
        _accepts(arguments)


def _names(parser: argparse.ArgumentParser, prefix: Tuple[str, ...] = ()) -> Dict[Tuple[str, ...], bool]:
    """Map every command to whether it needs arguments."""
    names = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                names[(*prefix, name)] = any(other.required for other in sub._actions)
                names.update(_names(sub, (*prefix, name)))
    return names


@pytest.mark.parametrize(("path", "words"), _of("torchrun", DOCUMENTS))
def test_a_torchrun_command_names_a_program_and_parses(path: Path, words: List[str]) -> None:
    module = words[words.index("-m") + 1]
    assert importlib.util.find_spec(module) is not None
    if module == "softhubert_plugin":
        _accepts(words[words.index("-m") + 2 :])


@pytest.mark.parametrize(("path", "words"), _of("fairseq-hydra-train", [*DOCUMENTS, *CONFIGURATIONS]))
def test_a_training_command_names_a_configuration_and_keys_that_it_has(path: Path, words: List[str]) -> None:
    if len(words) == 1:  # named in a sentence
        return
    folder = REPOSITORY / words[words.index("--config-dir") + 1]
    name = words[words.index("--config-name") + 1]
    names = sorted(found.stem for found in folder.glob("*.yaml")) if "$" in name or name.isupper() else [name]
    for each in names:
        configuration = OmegaConf.load(folder / f"{each}.yaml")
        for word in words[words.index("--config-name") + 2 :]:
            key, equals, value = word.partition("=")
            assert equals, word
            if key == "+run":
                assert (folder / "run" / f"{value}.yaml").is_file(), word
            else:
                _has(configuration, key, word)


def _has(configuration: Any, key: str, word: str) -> None:
    plain = key.lstrip("+")
    node = configuration
    for part in plain.split(".")[:-1]:
        node = OmegaConf.to_container(node, resolve=False).get(part) if isinstance(node, DictConfig) else node.get(part)
        if node is None:
            break
    assert (isinstance(node, dict) and plain.split(".")[-1] in node) or plain.startswith(COMMON), word


NAMED_SETTINGS = sorted({key for path in DOCUMENTS for key in re.findall(r"`(\w+\.\w+)=", path.read_text(encoding="utf-8"))})


@pytest.mark.parametrize("key", NAMED_SETTINGS)
def test_a_setting_named_in_a_sentence_can_be_given_to_every_configuration_of_its_kind(key: str) -> None:
    if key.startswith(COMMON):
        return
    group, name = key.split(".")
    # For each kind: whether each of its configurations lists the setting. hydra refuses settings that are not listed.
    kinds: Dict[Tuple[str, str], List[bool]] = {}
    for path in CONFIGURATIONS:
        if path.parent.name in ("pretrain", "finetune"):
            settings = OmegaConf.load(path)[group]
            # Distillation has no labels, so label settings do not apply to it.
            if not (name.startswith("label_") and settings.get("labels") == []):
                kinds.setdefault((path.parent.name, settings._name), []).append(name in settings)
    assert any(any(lists) for lists in kinds.values()), f"no configuration lists {key}"
    assert {kind: lists for kind, lists in kinds.items() if any(lists) and not all(lists)} == {}


@pytest.mark.parametrize(("path", "words"), _of("bash", DOCUMENTS))
def test_a_script_exists_and_explains_the_options_that_are_used(path: Path, words: List[str]) -> None:
    script = REPOSITORY / words[1]
    assert script.is_file()
    text = script.read_text(encoding="utf-8")
    if script.parent.parent.name == "examples":  # they start recipes, which have the options
        text += "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "softhubert_plugin" / "commands").glob("recipe*.py"))
    if script.name != "run.sh" or script.parent.name != "tests":  # tests/run.sh passes its options to pytest
        for option in (word for word in words[2:] if word.startswith("--")):
            assert option in text, option


@pytest.mark.parametrize(("path", "words"), _of(r"python -m tests\.benchmarks\.\w+", DOCUMENTS))
def test_a_benchmark_exists(path: Path, words: List[str]) -> None:
    names = {words[2].rsplit(".", 1)[1]}
    if names == {"MODULE"}:  # the modules are in a table
        names = set(re.findall(r"^\|[^|]*\| `(\w+)[^`|]*` \|", path.read_text(encoding="utf-8"), flags=re.MULTILINE))
        assert len(names) > 5
    for name in names:
        assert (REPOSITORY / "tests" / "benchmarks" / f"{name}.py").is_file(), name


@pytest.mark.parametrize(("path", "words"), _of("softhubert fairseq-tool", DOCUMENTS))
def test_a_script_of_fairseqs_is_in_the_installed_fairseq(path: Path, words: List[str]) -> None:
    if len(words) == 2:  # named in a sentence
        return
    fairseq = importlib.util.find_spec("fairseq")
    assert fairseq is not None and fairseq.submodule_search_locations is not None
    assert (Path(next(iter(fairseq.submodule_search_locations))) / "examples" / words[2]).is_file()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_link_within_the_repository_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


def test_the_front_door_is_short_and_leads_to_every_page_in_one_step() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 140] == []
    assert [page.name for page in PAGES if f"](docs/{page.name})" not in text] == []


def test_the_example_of_another_clusterer_writes_labels_that_are_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8"), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/extending.md", "exec"), {})
    targets = open_soft_labels(tmp_path / "train.gmm").utterance(0)
    assert targets.components.tolist() == [3, 8, 8]
    assert targets.probabilities == pytest.approx([0.7, 0.3, 1.0], abs=1e-4)


def test_the_documents_are_read_at_all() -> None:
    assert len(PAGES) > 12
    assert len(_of("softhubert", DOCUMENTS)) > 40
    assert len(_of("fairseq-hydra-train", DOCUMENTS)) >= 4
    assert len(_of("softhubert fairseq-tool", DOCUMENTS)) >= 5
    assert len(NAMED_SETTINGS) >= 5
