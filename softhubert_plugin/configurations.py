"""Find the hydra configurations: in a clone they are beside the package, after installation inside it.

This module only finds the folder, for fairseq's ``--config-dir``. fairseq itself reads the configurations.
"""

from __future__ import annotations

from pathlib import Path

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
