"""The commands ``softhubert export``, ``import`` and ``fairseq-tool``."""

from __future__ import annotations

import argparse

from softhubert_plugin.commands.parser import Commands


def add_export(commands: Commands) -> None:
    """Add the subcommands ``transformers``, ``torchaudio`` and ``fairseq`` of ``softhubert export``."""

    def transformers(a: argparse.Namespace) -> str:
        from softhubert_plugin.exchange.export_transformers import export_transformers

        return export_transformers(a.checkpoint, a.dest, mixture=a.mixture, data=a.data)

    parser = commands.add(
        "transformers",
        "write a folder for HubertModel.from_pretrained, or for HubertForCTC and Wav2Vec2Processor",
        "softhubert export transformers exp/pretrain/checkpoints/checkpoint_best.pt exp/hubert-soft --mixture exp/gmm.safetensors",
        transformers,
    )
    _add_places(parser, "folder to write; it must not exist yet")
    parser.add_argument(
        "--mixture", metavar="GMM_PATH", help="mixture file to include: the mixture of the model's targets or of its hidden states"
    )
    parser.add_argument("--data", metavar="TEXT", help="training data to name in the model card (default: the folder in the checkpoint)")

    def torchaudio(a: argparse.Namespace) -> str:
        from softhubert_plugin.exchange.export_torchaudio import export_torchaudio

        return export_torchaudio(a.checkpoint, a.dest)

    parser = commands.add(
        "torchaudio",
        "write weights and arguments for torchaudio.models.wav2vec2_model",
        "softhubert export torchaudio exp/pretrain/checkpoints/checkpoint_best.pt exp/hubert-soft-torchaudio",
        torchaudio,
    )
    _add_places(parser, "folder to write; it must not exist yet")

    def fairseq(a: argparse.Namespace) -> str:
        from softhubert_plugin.exchange.export_fairseq import export_fairseq

        return export_fairseq(a.checkpoint, a.dest)

    parser = commands.add(
        "fairseq",
        "write a checkpoint that fairseq loads without this plugin",
        "softhubert export fairseq exp/pretrain/checkpoints/checkpoint_best.pt exp/stock/hubert.pt",
        fairseq,
    )
    _add_places(parser, "checkpoint to write; for a fine-tuned model, dict.ltr.txt is written beside it")


def add_import(commands: Commands) -> None:
    """Add the subcommand ``transformers`` of ``softhubert import``."""

    def transformers(a: argparse.Namespace) -> str:
        from softhubert_plugin.exchange.import_transformers import import_transformers

        return import_transformers(a.folder, a.checkpoint)

    parser = commands.add(
        "transformers",
        "make a checkpoint from a folder with config.json and model.safetensors (or pytorch_model.bin)",
        "softhubert import transformers models/hubert-base-ls960 exp/hubert_base.pt",
        transformers,
    )
    parser.add_argument(
        "folder", metavar="DIR", help="local folder, from save_pretrained or from a download such as facebook/hubert-base-ls960"
    )
    parser.add_argument(
        "checkpoint", metavar="CKPT", help="checkpoint to write, for features, model.init_from, model.teacher or model.w2v_path"
    )


def add_fairseq_tool(commands: Commands) -> None:
    """Add the command ``softhubert fairseq-tool``."""

    def fairseq_tool(a: argparse.Namespace) -> str:
        from softhubert_plugin.exchange.fairseq_tool import run_tool

        run_tool(a.script, a.arguments)
        return ""

    parser = commands.add(
        "fairseq-tool",
        "run one of fairseq's own scripts from an installed fairseq, with current versions of torch and torchaudio",
        "softhubert fairseq-tool hubert/simple_kmeans/learn_kmeans.py exp/mfcc train 1 exp/km.joblib 100 --percent 0.1",
        fairseq_tool,
    )
    parser.add_argument("script", metavar="SCRIPT", help="path of the script below fairseq/examples")
    parser.add_argument("arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER, help="arguments of the script")


def _add_places(parser: argparse.ArgumentParser, dest: str) -> None:
    parser.add_argument("checkpoint", metavar="CKPT", help="pretrained, fine-tuned or distilled checkpoint, from fairseq or SoftHuBERT")
    parser.add_argument("dest", metavar="DEST", help=dest)
