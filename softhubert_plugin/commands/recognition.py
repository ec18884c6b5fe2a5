"""The commands ``softhubert targets``, ``lm``, ``decode``, ``tune`` and ``score``."""

from __future__ import annotations

import argparse
from typing import Any, Optional

from softhubert_plugin.commands.numbers import amount, count, number, positive, whole
from softhubert_plugin.commands.parser import Commands, add_device_argument, add_speaker_argument
from softhubert_plugin.errors import SoftHubertError


def add_recognition(commands: Commands) -> None:
    """Add the commands ``targets``, ``lm``, ``decode``, ``tune`` and ``score``."""
    _add_targets(commands)
    _add_lm(commands)
    _add_decode(commands)
    _add_tune(commands)
    _add_score(commands)


def _add_targets(commands: Commands) -> None:
    def targets(a: argparse.Namespace) -> str:
        from softhubert_plugin.asr.ctc_targets import write_letter_targets, write_piece_targets

        if a.units is not None:
            if a.dictionary is not None:
                raise SoftHubertError("--dictionary lists letters, but --units makes sentencepiece units; leave out one of them")
            return write_piece_targets(a.data, a.splits, a.dest or a.data, units=a.units, drop=a.drop)
        return write_letter_targets(a.data, a.splits, a.dest or a.data, dictionary=a.dictionary, drop=a.drop)

    parser = commands.add(
        "targets",
        "make CTC targets from transcripts: letters or sentencepiece units",
        "softhubert targets exp/data train valid test --units 500",
        targets,
    )
    parser.add_argument("data", metavar="TSV_DIR", help="folder of {split}.tsv and {split}.wrd")
    parser.add_argument("splits", metavar="SPLIT", nargs="+", help="names of splits; the first gives the letters or the units")
    parser.add_argument(
        "--units", type=whole, metavar="N", help="number of sentencepiece units; writes {split}.sp{N} and dict.sp{N}.txt (default: letters)"
    )
    parser.add_argument(
        "--dictionary", help="dict.ltr.txt with the allowed letters; not with --units (default: the letters of the first split)"
    )
    parser.add_argument(
        "--drop",
        action="store_true",
        help="leave out utterances that cannot be spelled, from the manifest as well (default: refuse them)",
    )
    parser.add_argument("--dest", help="folder to write to (default: TSV_DIR)")


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
        "make an n-gram language model (modified Kneser–Ney, ARPA) and a lexicon from transcripts",
        "softhubert lm exp/data/train.wrd --dest exp/lm --order 3 --dictionary exp/data/dict.ltr.txt",
        lm,
    )
    parser.add_argument("text", metavar="TEXT", nargs="+", help="text files with one sentence per line, such as {split}.wrd")
    parser.add_argument("--dest", required=True, help="folder to write lm.arpa and lexicon.txt to")
    parser.add_argument("--order", type=whole, default=3, help="longest n-gram, in words (or letters), 2 to 6 (default: %(default)s)")
    parser.add_argument(
        "--units",
        choices=["words", "letters", "pieces"],
        default="words",
        help="units of the model; letters and pieces are for decoding without a lexicon (default: %(default)s)",
    )
    parser.add_argument(
        "--dictionary", help="dict.*.txt of the fine-tuned model, to leave out words that it cannot spell (default: no check)"
    )
    parser.add_argument(
        "--sentencepiece", metavar="MODEL", help="sentencepiece model (spN.model) whose units spell the lexicon (default: letters)"
    )
    parser.add_argument(
        "--lexicon-from", metavar="FILE", help="file with the words of the lexicon, one per line (default: the words of TEXT)"
    )


def _add_search_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="YAML",
        help="decoding configuration in fairseq's format, such as config/decode/kenlm.yaml; options given here override it",
    )
    parser.add_argument(
        "--lm", help="KenLM model, .arpa or .bin (.bin loads faster); of words with --lexicon, of letters without (default: none)"
    )
    parser.add_argument("--lexicon", help="file of 'WORD spelling' lines; only its words can be found (default: none)")
    parser.add_argument(
        "--beam", type=whole, help="hypotheses kept per frame (default: 50); --beam alone gives a beam search without lexicon and model"
    )
    parser.add_argument("--beam-threshold", type=positive, help="drop hypotheses with a score this far below the best (default: 50)")
    parser.add_argument("--sil-score", type=number, help="score added for each word boundary (default: 0)")
    _add_machine_arguments(parser)


def _add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    add_device_argument(parser)
    parser.add_argument("--processes", type=count, help="number of processes (default: one per CPU core; one on a GPU)")
    parser.add_argument(
        "--max-seconds", type=positive, help="seconds of audio per batch (default: one utterance per batch on a CPU, 160 s on a GPU)"
    )


def _search(a: argparse.Namespace, **settings: Any) -> Optional[Any]:
    """Return the settings of the beam search; ``None`` for greedy decoding."""
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
        return decode_split(a.data, a.split, a.checkpoint, a.dest, search=search, greedy=a.greedy, **options)

    parser = commands.add(
        "decode",
        "decode a split with a fine-tuned CTC checkpoint: greedy, or beam search with lexicon and language model",
        "softhubert decode exp/data test exp/soft/finetune/checkpoint_best.pt exp/soft/decode/test --lm exp/lm/lm.arpa "
        "--lexicon exp/lm/lexicon.txt",
        decode,
    )
    parser.add_argument("data", metavar="TSV_DIR", help="folder of {split}.tsv and, for references, {split}.ltr or .wrd")
    parser.add_argument("split", metavar="SPLIT", help="name of the split: test, …")
    parser.add_argument("checkpoint", metavar="CKPT", help="fine-tuned hubert_ctc checkpoint")
    parser.add_argument(
        "dest", metavar="DEST", help="folder to write hypo.word, hypo.units, ref.word, ref.units, generate.txt and decode.json to"
    )
    parser.add_argument("--lm-weight", type=number, help="factor on the language model's score (default: 2)")
    parser.add_argument("--word-score", type=number, help="score added for each word (default: -1)")
    parser.add_argument("--tuned", metavar="JSON", help="file from 'softhubert tune', to take --lm-weight and --word-score from")
    parser.add_argument("--nbest", type=whole, help="hypotheses per utterance in generate.txt (default: 1)")
    parser.add_argument(
        "--greedy", metavar="DIR", help="write the greedy hypotheses too, to this folder; the audio is scored once for both (default: no)"
    )
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
    parser.add_argument("data", metavar="TSV_DIR", help="folder of {split}.tsv and {split}.wrd")
    parser.add_argument("split", metavar="SPLIT", help="name of a development set; never tune on the test set")
    parser.add_argument("checkpoint", metavar="CKPT", help="fine-tuned hubert_ctc checkpoint")
    parser.add_argument("dest", metavar="JSON", help="JSON file to write: the best setting and every setting tried")
    _add_search_arguments(parser)


def _add_score(commands: Commands) -> None:
    def score(a: argparse.Namespace) -> str:
        from softhubert_plugin.scoring.hints import spelling_hints
        from softhubert_plugin.scoring.score import compare_files, score_files
        from softhubert_plugin.speakers import announce

        named = {"manifest": a.manifest, "speaker_from": a.speaker_from, "form": a.format}
        result = score_files(a.hyp, a.ref, **named)
        if a.dest:
            result.save(a.dest)
        parts = ["\n".join([result.summary(), *spelling_hints(result)])]
        if a.against:
            parts.append(compare_files(a.hyp, a.against, a.ref, **named))
        if a.by_speaker:
            parts.append(result.speaker_table())
        if a.worst:
            parts.append(result.worst(a.worst))
        if result.speakers_from is not None:
            announce(result.speakers_from)
        return "\n\n".join(parts)

    parser = commands.add(
        "score",
        "compute the word error rate with its confidence interval, per speaker and against another system",
        "softhubert score exp/soft/decode/test/hypo.word exp/soft/decode/test/ref.word --manifest exp/data/test.tsv",
        score,
    )
    parser.add_argument(
        "hyp", metavar="HYP", help="file of hypotheses: one 'WORDS (id)' per line in any order, or plain text, one utterance per line"
    )
    parser.add_argument(
        "ref", metavar="REF", help="file of references, in the same format; 'WORDS (id)' may have { A / B } and (UH), as in sclite"
    )
    parser.add_argument(
        "--format",
        choices=["auto", "trn", "lines", "kaldi"],
        default="auto",
        help="format of both files: trn is 'WORDS (id)', lines is plain text, kaldi is 'id WORDS' (default: %(default)s, from the content)",
    )
    parser.add_argument(
        "--manifest", metavar="TSV", help="the split's manifest, for the names of utterances, and for speakers its .spk (default: none)"
    )
    parser.add_argument("--against", metavar="HYP", help="hypotheses of another system, to compare with (matched-pairs test)")
    parser.add_argument("--by-speaker", action="store_true", help="print one line per speaker")
    add_speaker_argument(parser)
    parser.add_argument(
        "--worst", type=amount, default=0, metavar="N", help="print the alignments of the N utterances with the most errors (default: 0)"
    )
    parser.add_argument("--dest", help="file to write the result to, as JSON (default: only print it)")
