"""Packaging of SoftHuBERT: what it depends on, and the ``softhubert`` command.

The versions that are known to work together are in ``constraints.txt``. This file has only the bounds outside which something is known
to break. ``bash install.sh`` reads both.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Dict, List

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent

REQUIREMENTS: List[str] = [
    # Stock fairseq's configuration dataclasses do not import on Python 3.11 and later; fairseq-fixed is the same code without this fault.
    "fairseq==0.12.2; python_version < '3.11'",
    "fairseq-fixed==0.12.3.1; python_version >= '3.11'",
    "numpy>=1.21",
    "torch>=2.4",
    "torchaudio>=2.4",
    "scipy>=1.7",
    "scikit-learn>=1.3",
    "joblib>=1.1",
    # fairseq itself restricts these three to the versions that it was written for.
    "hydra-core>=1.0.7",
    "omegaconf>=2.0.6",
    "PyYAML>=5.1",
    "soundfile>=0.12.1",
    "sentencepiece>=0.1.99",
    "editdistance>=0.6.2",
    "rapidfuzz>=3.6",
    "safetensors>=0.4.3",
    "npy-append-array>=0.9.16; python_version >= '3.9'",
    "npy-append-array==0.9.16; python_version < '3.9'",  # later ones need a newer NumPy than Python 3.8 has, but do not declare it
    "tqdm>=4.60",
    "doit>=0.36",
    "matplotlib>=3.7",
    # fairseq's trainer writes its curves with it if common.tensorboard_logdir is set, and warns if it is missing.
    "tensorboardX>=2.5",
]

EXTRAS: Dict[str, List[str]] = {
    "demo": ["espeakng-loader>=0.2"],
    "lm": ["flashlight-text>=0.0.4", "kenlm>=0.2"],
    "transformers": ["transformers>=4.40"],
    "slurm": [
        "submitit>=1.4",
        # hydra's launcher, for config/pretrain/run/slurm.yaml; each release works with one hydra.
        "hydra-submitit-launcher>=1.1.1,<1.2; python_version < '3.11'",
        "hydra-submitit-launcher>=1.2; python_version >= '3.11'",
    ],
    "lhotse": [
        "lhotse>=1.20",
        "urllib3>=1.26",  # lhotse 1.33 imports it, but does not declare it
    ],
    "huggingface": ["datasets>=3.1"],
    "dev": [
        "pytest>=7",
        "pytest-cov>=4",
        "pytest-xdist>=3",
        "hypothesis>=6.80",
        "ruff>=0.6",
        "mypy>=1.8",
        "jiwer>=3",
        "packaging>=21",
        "praatio>=6",
    ],
}


def version() -> str:
    """Read the package's ``__version__`` from its source, because the build environment may lack what importing it needs."""
    for statement in ast.parse((HERE / "softhubert_plugin" / "version.py").read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and any(isinstance(name, ast.Name) and name.id == "__version__" for name in statement.targets):
            return str(ast.literal_eval(statement.value))
    raise RuntimeError("softhubert_plugin/version.py: no '__version__ = ...' line")


README = HERE / "README.md"

setup(
    name="softhubert",
    version=version(),
    description="HuBERT pretraining on uncertain targets: Gaussian-mixture posteriors, as a fairseq user directory",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="SoftHuBERT contributors",
    license="MIT",
    license_files=["LICENSE"],
    # The configurations are beside the package, where people look for them, and are installed inside it. `softhubert configs` prints where.
    packages=[*find_packages(include=["softhubert_plugin", "softhubert_plugin.*"]), "softhubert_plugin.config"],
    package_dir={"softhubert_plugin.config": "config", "hydra_plugins": "softhubert_plugin/compat/hydra_plugins"},
    # hydra imports what it finds in this namespace, to which many packages add.
    py_modules=["hydra_plugins.softhubert_last_line"],
    package_data={"softhubert_plugin": ["py.typed", "uncertainty/listen.*s"], "softhubert_plugin.config": ["**/*.yaml"]},
    zip_safe=False,
    python_requires=">=3.8,<3.14",
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["softhubert = softhubert_plugin.cli:main"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.8",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
