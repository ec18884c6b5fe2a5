"""``softhubert targets``, ``lm``, ``decode``, ``tune`` and ``score``."""

from __future__ import annotations

import argparse
from typing import Any, Optional

from softhubert_plugin.commands.parser import Commands, add_device_argument


def add_recognition(commands: Commands) -> None:
    _add_targets(commands)
    _add_lm(commands)
    _add_decode(commands)
    _add_tune(commands)
    _add_score(commands)


def _add_targets(commands: Commands) -> None:
    def targets(a: argparse.Namespace) -> str:
        from softhubert_plugin.asr.ctc_targets import write_letter_targets, write_piece_targets

        if a.units is not None:
            return write_piece_targets(a.data, a.splits, a.dest or a.data, units=a.units, drop=a.drop)
        return write_letter_targets(a.data, a.splits, a.dest or a.data, dictionary=a.dictionary, drop=a.drop)

    parser = commands.add(
        "targets",
        "CTC targets of transcripts: letters, or sentencepiece units",
        "softhubert targets exp/data train valid test --units 500",
        targets,
    )
    parser.add_argument("data", metavar="TSV_DIR", help="folder of {split}.tsv and {split}.wrd")
    parser.add_argument("splits", metavar="SPLIT", nargs="+", help="splits; units are learned from the first")
    parser.add_argument("--units", type=int, metavar="N", help="N sentencepiece units in {split}.sp{N}, dict.sp{N}.txt; without: letters")
    parser.add_argument("--dictionary", help="a dict.ltr.txt whose letters the transcripts have to keep to; without: the first split's")
    parser.add_argument("--drop", action="store_true", help="leave out utterances that cannot be spelled, from the manifest too")
    parser.add_argument("--dest", help="where to write (default: TSV_DIR)")


def _add_lm(commands: Commands) -> None:
    def lm(a: argparse.Namespace) -> str:
        from softhubert_plugin.asr.language_model import write_language_model

        return write_language_model(
            a.text,
            a.dest,
            order=a.order,
            units=a.units,
            dictionary=a.dictionary,
            sentencepiece=a.sentencepiece,
            lexicon_from=a.lexicon_from,
        )

    parser = commands.add(
        "lm",
        "an n-gram language model (modified Kneser–Ney, ARPA) and a lexicon from transcripts",
        "softhubert lm exp/data/train.wrd --dest exp/lm --order 3 --dictionary exp/data/dict.ltr.txt",
        lm,
    )
    parser.add_argument("text", metavar="TEXT", nargs="+", help="text files, a sentence a line, such as {split}.wrd")
    parser.add_argument("--dest", required=True, help="where to write lm.arpa and lexicon.txt")
    parser.add_argument("--order", type=int, default=3, help="words (or letters) an n-gram holds at most (default: %(default)s)")
    parser.add_argument(
        "--units", choices=["words", "letters", "pieces"], default="words", help="letters, pieces: for decoding without a lexicon"
    )
    parser.add_argument("--dictionary", help="the dict.*.txt of the fine-tuned model, against which spellings are checked")
    parser.add_argument("--sentencepiece", metavar="MODEL", help="spell the lexicon with these units (spN.model) instead of letters")
    parser.add_argument("--lexicon-from", metavar="FILE", help="take the lexicon's words from this list, one a line, instead of TEXT")


def _add_search_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", metavar="YAML", help="of fairseq's form, such as config/decode/kenlm.yaml; options given here count more"
    )
    parser.add_argument("--lm", help="KenLM model, .arpa or .bin (which loads sooner): of words with --lexicon, of letters without")
    parser.add_argument("--lexicon", help="file of 'WORD spelling' lines; only its words can be found")
    parser.add_argument("--beam", type=int, help="hypotheses kept a frame (default: 50); alone, a search without lexicon and model")
    parser.add_argument("--beam-threshold", type=float, help="drop hypotheses so far behind the best (default: 50)")
    parser.add_argument("--sil-score", type=float, help="added for each word boundary (default: 0)")
    _add_machine_arguments(parser)


def _add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    add_device_argument(parser)
    parser.add_argument("--processes", type=int, help="as many at once (default: one a CPU core; one on a GPU)")
    parser.add_argument("--max-seconds", type=float, help="audio in one batch (default: one utterance on a CPU, 160 on a GPU)")


def _search(a: argparse.Namespace, **settings: Any) -> Optional[Any]:
    """The beam search that was asked for; ``None`` is greedy decoding."""
    from softhubert_plugin.asr.beam import search_settings

    given = {"lm": a.lm, "lexicon": a.lexicon, "beam": a.beam, "beam_threshold": a.beam_threshold, "sil_score": a.sil_score, **settings}
    return search_settings(given, a.config)


def _add_decode(commands: Commands) -> None:
    def decode(a: argparse.Namespace) -> str:
        from softhubert_plugin.asr.decode import decode_split

        lm_weight, word_score = a.lm_weight, a.word_score
        if a.tuned is not None:
            from softhubert_plugin.asr.tune import read_tuned

            lm_weight, word_score = read_tuned(a.tuned)
        search = _search(a, lm_weight=lm_weight, word_score=word_score, nbest=a.nbest)
        options = {"device": a.device, "processes": a.processes, "max_seconds": a.max_seconds}
        return decode_split(a.data, a.split, a.checkpoint, a.dest, search=search, **options)

    parser = commands.add(
        "decode",
        "CTC decoding of a split with a fine-tuned checkpoint: greedy, or beam search with lexicon and language model",
        "softhubert decode exp/data test exp/soft/finetune/checkpoint_best.pt exp/soft/decode/test --lm exp/lm/lm.arpa "
        "--lexicon exp/lm/lexicon.txt",
        decode,
    )
    parser.add_argument("data", metavar="TSV_DIR", help="folder of the manifest and, for references, its .ltr or .wrd")
    parser.add_argument("split", metavar="SPLIT", help="test, …")
    parser.add_argument("checkpoint", metavar="CKPT", help="fine-tuned hubert_ctc checkpoint")
    parser.add_argument("dest", metavar="DEST", help="where to write hypo.word, hypo.units, ref.word, ref.units, generate.txt, decode.json")
    parser.add_argument("--lm-weight", type=float, help="factor on the language model (default: 2)")
    parser.add_argument("--word-score", type=float, help="added for each word (default: -1)")
    parser.add_argument("--tuned", metavar="JSON", help="take both from what 'softhubert tune' wrote")
    parser.add_argument("--nbest", type=int, help="hypotheses an utterance in generate.txt (default: 1)")
    _add_search_arguments(parser)


def _add_tune(commands: Commands) -> None:
    def tune(a: argparse.Namespace) -> str:
        from softhubert_plugin.asr.tune import tune_weights

        search = _search(a)
        return tune_weights(
            a.data, a.split, a.checkpoint, a.dest, search=search, device=a.device, processes=a.processes, max_seconds=a.max_seconds
        )

    parser = commands.add(
        "tune",
        "find the LM weight and word score with the lowest WER on a development set",
        "softhubert tune exp/data valid exp/soft/finetune/checkpoint_best.pt exp/soft/tuned.json --lm exp/lm/lm.arpa "
        "--lexicon exp/lm/lexicon.txt",
        tune,
    )
    parser.add_argument("data", metavar="TSV_DIR", help="folder of the manifest and its .wrd")
    parser.add_argument("split", metavar="SPLIT", help="development set: never the one that is reported")
    parser.add_argument("checkpoint", metavar="CKPT", help="fine-tuned hubert_ctc checkpoint")
    parser.add_argument("dest", metavar="JSON", help="where to write the best setting and every setting tried")
    _add_search_arguments(parser)


def _add_score(commands: Commands) -> None:
    def score(a: argparse.Namespace) -> str:
        from softhubert_plugin.scoring.score import compare_files, score_files

        result = score_files(a.hyp, a.ref, manifest=a.manifest)
        if a.dest:
            result.save(a.dest)
        parts = [result.summary()]
        if a.against:
            parts.append(compare_files(a.hyp, a.against, a.ref, manifest=a.manifest))
        if a.by_speaker:
            parts.append(result.speaker_table())
        if a.worst:
            parts.append(result.worst(a.worst))
        return "\n\n".join(parts)

    parser = commands.add(
        "score",
        "word error rate with its confidence interval, by speaker and against another system",
        "softhubert score exp/soft/decode/test/hypo.word exp/soft/decode/test/ref.word --manifest exp/data/test.tsv",
        score,
    )
    parser.add_argument("hyp", metavar="HYP", help="hypotheses, 'WORDS (id)' a line")
    parser.add_argument("ref", metavar="REF", help="references, likewise")
    parser.add_argument("--manifest", metavar="TSV", help="the split's manifest: tells utterances and speakers apart")
    parser.add_argument("--against", metavar="HYP", help="compare with another system's hypotheses (matched-pairs test)")
    parser.add_argument("--by-speaker", action="store_true", help="one line a speaker; needs --manifest, or ids such as 19-198-0001")
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="show the alignments of the N worst utterances")
    parser.add_argument("--dest", help="also write the result as JSON")
