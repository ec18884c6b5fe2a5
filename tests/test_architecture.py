"""The rules of the package's layout, checked in its source. ``docs/design.md`` gives the reasons."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Dict, Iterator, List, Set

import softhubert_plugin

PACKAGE = Path(softhubert_plugin.__file__).parent
NAME = "softhubert_plugin"

# Imports go down the page: a part may import the parts on the lines below its own, but none above it and none on the same line.
LAYOUT = """
__main__
cli
commands
recipes
api exchange tasks
uncertainty
asr probing gmm data
labels models
features
checkpoints
report corpora settings
scoring alignments audio
speakers subsets
manifests compat
text_files folders
files terminal doctor configurations front_end criterions optim planning plotting devices
ranges
requirements import_trials version errors allocation
"""
MAY_IMPORT_FAIRSEQ = {"tasks", "models", "criterions", "data", "optim", "compat", "checkpoints", "exchange", "settings"}
# Stages share these on purpose. Every other module that a command calls is a program, and no other stage may import it.
MEETING_PLACES = (f"{NAME}.labels.", f"{NAME}.scoring.")

LINE_OF = {part: number for number, line in enumerate(LAYOUT.split("\n")) for part in line.split()}


def _modules() -> Dict[str, ast.Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = (NAME, *path.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text(encoding="utf-8"))
    return found


MODULES = _modules()


def _imports(tree: ast.Module) -> Iterator[str]:
    """Yield everything that a module imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in submodules)


OURS: Dict[str, Set[str]] = {
    module: {name for name in _imports(tree) if name.split(".")[0] == NAME and name != module} for module, tree in MODULES.items()
}


def _part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_part_has_its_line_in_the_layout() -> None:
    assert {_part(module) for module in MODULES} - {""} <= set(LINE_OF)


def test_no_import_climbs_or_goes_sideways() -> None:
    wrong = [
        f"{module} imports {imported}"
        for module, names in OURS.items()
        for imported in names
        if module != NAME and _part(module) != _part(imported) and not LINE_OF.get(_part(module), 99) < LINE_OF.get(_part(imported), -1)
    ]
    assert wrong == []


def test_the_package_itself_imports_only_its_version_and_its_interface() -> None:
    assert OURS[NAME] <= {f"{NAME}.version", f"{NAME}.api"}


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    left = {module: set(names) & set(MODULES) for module, names in OURS.items() if module != NAME}
    while True:
        ready = [module for module, names in left.items() if not names & set(left)]
        if not ready:
            break
        for module in ready:
            del left[module]
    assert left == {}, "these modules, or modules that they import, import each other in a circle"


def test_only_the_parts_for_training_import_fairseq() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, tree in MODULES.items()
        if _part(module) not in MAY_IMPORT_FAIRSEQ
        for name in _imports(tree)
        if name.split(".")[0] in ("fairseq", "fairseq_cli")
    ]
    assert wrong == []


def test_stages_never_import_each_others_programs() -> None:
    called: List[str] = [name for module, names in OURS.items() if _part(module) == "commands" for name in names]
    programs = {name for name in called if name.count(".") > 1 and _part(name) != "commands" and not name.startswith(MEETING_PLACES)}
    assert f"{NAME}.gmm.learn_gmm" in programs
    wrong = [
        f"{module} imports {imported}"
        for module, names in OURS.items()
        for imported in names & programs
        if _part(module) not in ("commands", "recipes", _part(imported))
    ]
    assert wrong == []


def test_a_public_name_is_defined_in_only_one_module() -> None:
    places: Dict[str, List[str]] = {}
    for module, tree in MODULES.items():
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            names += [node.name] if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else []
            for name in names:
                if not name.startswith("_"):
                    places.setdefault(name, []).append(module)
    # Each module that logs has its own logger. ``softhubert_plugin.load`` repeats ``api.load`` for users.
    twice = {name: modules for name, modules in places.items() if len(modules) > 1 and name not in ("logger", "load")}
    assert twice == {}
