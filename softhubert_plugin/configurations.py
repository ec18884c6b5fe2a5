"""Find the hydra configurations: in a clone they are beside the package, after installation inside it.

This module finds the folder, for fairseq's ``--config-dir``, and looks up single settings. fairseq itself reads the configurations.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Optional

from softhubert_plugin.errors import SoftHubertError


def configuration_folder() -> Path:
    """Return the folder that contains ``pretrain/``, ``finetune/`` and ``decode/``.

    Raises:
        SoftHubertError: the folder is in neither place, for example because only the package was copied.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "config", package.parent / "config"):
        if (folder / "pretrain").is_dir():
            return folder
    raise SoftHubertError(
        f"{package / 'config'}: no configurations here or in {package.parent}; install SoftHuBERT from its wheel or a clone"
    )


def configured(config: str, name: str) -> Optional[str]:
    """Return what a configuration sets, as it is written there. It is read without hydra, so that a dry run needs nothing installed.

    Args:
        config: the configuration, such as ``finetune/base_10h``.
        name: a setting of one of its sections, without the section.

    Returns:
        ``None`` if there is no such file, or if it does not set this.
    """
    file = configuration_folder() / f"{config}.yaml"
    found = re.search(rf"^  {name}: *(\S+)", file.read_text(encoding="utf-8"), re.MULTILINE) if file.exists() else None
    return found and found.group(1)
