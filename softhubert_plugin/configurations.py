"""Where the hydra configurations are: beside the package in a clone, within it once installed.

fairseq reads them by itself; this only finds the folder for its ``--config-dir``.
"""

from __future__ import annotations

from pathlib import Path

from softhubert_plugin.errors import SoftHubertError


def configuration_folder() -> Path:
    """The folder that holds ``pretrain/``, ``finetune/`` and ``decode/``.

    Raises:
        SoftHubertError: it is in neither place, as after copying the package alone.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "config", package.parent / "config"):
        if (folder / "pretrain").is_dir():
            return folder
    raise SoftHubertError(
        f"{package / 'config'}: no configurations here, nor in {package.parent}; install SoftHuBERT from its wheel or a clone"
    )
