"""Says in one line which setting has a value of the wrong kind. omegaconf ends in a traceback that names neither section nor remedy."""

from __future__ import annotations

import enum
from typing import Any, Iterator, Optional, Tuple, Union

from omegaconf.errors import OmegaConfBaseException, ValidationError

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def refused_setting(error: BaseException) -> Optional[str]:
    """The message for a value that omegaconf refuses.

    Args:
        error: what ended the training.

    Returns:
        ``None`` if it is another error, or about a setting of no task, model, criterion, optimizer or learning rate schedule.
    """
    if not isinstance(error, ValidationError) or not isinstance(error, OmegaConfBaseException):
        return None
    owner, key = getattr(error, "object_type", None), getattr(error, "key", None)
    section = next((name for name, structure in _structures() if structure is owner), None)
    field = getattr(owner, "__dataclass_fields__", {}).get(key)
    if section is None or field is None:
        return None
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


def _structures() -> Iterator[Tuple[str, Any]]:
    """Sections of the configuration, each with the structures that it may have."""
    from fairseq.models import MODEL_DATACLASS_REGISTRY
    from fairseq.registry import REGISTRIES
    from fairseq.tasks import TASK_DATACLASS_REGISTRY

    yield from (("task", each) for each in TASK_DATACLASS_REGISTRY.values())
    yield from (("model", each) for each in MODEL_DATACLASS_REGISTRY.values())
    for section, registry in REGISTRIES.items():
        yield from ((section, each) for each in registry["dataclass_registry"].values())
