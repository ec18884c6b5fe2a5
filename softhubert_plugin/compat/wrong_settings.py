"""Says in one line which setting does not exist, or has a value of the wrong kind. omegaconf's traceback names no section or remedy."""

from __future__ import annotations

import difflib
import enum
from typing import Any, Iterator, Optional, Tuple, Union

from omegaconf.errors import ConfigKeyError, ValidationError

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def refused_setting(error: BaseException) -> Optional[str]:
    """The message for a setting that omegaconf refuses.

    Args:
        error: what ended the training.

    Returns:
        ``None`` if it is another error, or about a setting of no task, model, criterion, optimizer or learning rate schedule.
    """
    if not isinstance(error, (ValidationError, ConfigKeyError)):
        return None
    owner, key = getattr(error, "object_type", None), getattr(error, "key", None)
    section, structure = next(((section, name) for section, name, known in _structures() if known is owner), ("", ""))
    fields = getattr(owner, "__dataclass_fields__", {})
    if not section or key is None:
        return None
    if key not in fields:
        alike = difflib.get_close_matches(str(key), fields, 1, cutoff=0.85)
        remedy = f"did you mean {alike[0]}?" if alike else f"remove it, or change {section}._name"
        return f"{section}.{key}: {structure} has no such setting; {remedy}"
    field = fields[key]
    # The setting of one section may be that of another: model.normalize is ${task.normalize}.
    refers = isinstance(field.default, str) and field.default.startswith("${") and field.default.endswith("}")
    name = field.default[2:-1] if refers else f"{section}.{key}"
    text = str(getattr(error, "value", None))
    value = "null" if text == "None" else text
    return f"{name}={value}: expected {_expected(field.type, name, value)}"


def _expected(kind: Any, name: str, value: str) -> str:
    origin, arguments = getattr(kind, "__origin__", None), getattr(kind, "__args__", ())
    if origin is Union:  # Optional
        return _expected(next(each for each in arguments if each is not type(None)), name, value)
    if origin is list:
        return f"a list; write '{name}=[{'…' if value == 'null' else value}]'"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "one of " + ", ".join(str(each.value) for each in kind)
    return _KINDS.get(kind, "another kind of value")


def _structures() -> Iterator[Tuple[str, str, Any]]:
    """Sections of the configuration, each with the names that it may have and their structures."""
    from fairseq.models import MODEL_DATACLASS_REGISTRY
    from fairseq.registry import REGISTRIES
    from fairseq.tasks import TASK_DATACLASS_REGISTRY

    named = {"task": TASK_DATACLASS_REGISTRY, "model": MODEL_DATACLASS_REGISTRY}
    named.update({section: registry["dataclass_registry"] for section, registry in REGISTRIES.items()})
    for section, structures in named.items():
        yield from ((section, name, structure) for name, structure in structures.items())
