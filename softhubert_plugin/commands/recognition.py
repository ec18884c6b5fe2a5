"""``softhubert decode`` and ``softhubert score``."""

from __future__ import annotations

import argparse

from softhubert_plugin.commands.parser import Commands


def add_recognition(commands: Commands) -> None:
    def decode(a: argparse.Namespace) -> str:
        from softhubert_plugin.asr.decode import decode_split

        return decode_split(a.data, a.split, a.checkpoint, a.dest, max_seconds=a.max_seconds)

    parser = commands.add(
        "decode",
        "greedy CTC decoding of a split with a fine-tuned checkpoint",
        "softhubert decode exp/data test exp/soft/finetune/checkpoint_best.pt exp/soft/decode/test",
        decode,
    )
    parser.add_argument("data", metavar="TSV_DIR", help="folder of the manifest and, for references, its .ltr")
    parser.add_argument("split", metavar="SPLIT", help="test, …")
    parser.add_argument("checkpoint", metavar="CKPT", help="fine-tuned hubert_ctc checkpoint")
    parser.add_argument("dest", metavar="DEST", help="where to write hypo.word, hypo.units, ref.word, ref.units and generate.txt")
    parser.add_argument("--max-seconds", type=float, default=80.0, help="audio in one batch (default: %(default)s)")

    def score(a: argparse.Namespace) -> str:
        from softhubert_plugin.asr.score import score_files

        result = score_files(a.hyp, a.ref)
        if a.dest:
            result.save(a.dest)
        return result.summary()

    parser = commands.add(
        "score",
        "word error rate with its confidence interval",
        "softhubert score exp/soft/decode/test/hypo.word exp/soft/decode/test/ref.word",
        score,
    )
    parser.add_argument("hyp", metavar="HYP", help="hypotheses, 'WORDS (id)' a line")
    parser.add_argument("ref", metavar="REF", help="references, likewise")
    parser.add_argument("--dest", help="also write the result as JSON")
