"""Greedy decoding, compared with fairseq's ``infer.py`` on the same checkpoint: time and processor time of the whole command, time of its
start-up, and hypotheses.

    python -m tests.benchmarks.decode [--utterances 100] [--shape recipe|base] [--repeats 3]

The speech is real (``$SOFTHUBERT_SPEECH``) and the weights are random. ``infer.py`` runs with our configuration (batches of 80 s), and also
with one utterance at a time. Then nothing is padded, and its hypotheses are those of each utterance alone. The commands take turns, and
the best of ``--repeats`` counts. Start-up (imports, loading the checkpoint) is the time that a command takes for two utterances. With two
threads, the processor time includes the time that they wait for each other. With ``OMP_NUM_THREADS=1`` it is the cost of the arithmetic.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

from softhubert_plugin.corpora.librispeech import write_librispeech_manifests
from tests.benchmarks.finetuned import BASE, RECIPE, write_finetuned_checkpoint

REPOSITORY = Path(__file__).parents[2]


class Cost(NamedTuple):
    """Cost of a command and its children: seconds, processor seconds, and peak MiB of the largest process."""

    seconds: float
    processor: float
    memory: float


def timed(command: Sequence[str]) -> Cost:
    """Run a command and measure its cost."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HYDRA_FULL_ERROR": "1"}
    started = time.monotonic()
    done = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(done.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return Cost(time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def hypotheses(folder: Path) -> List[str]:
    """Return the sorted lines of ``hypo.units``."""
    return sorted((folder / "hypo.units").read_text().splitlines())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=100, help="utterances to decode (default: %(default)s)")
    parser.add_argument(
        "--shape", choices=["recipe", "base"], default="recipe", help="tiny model of the quickstart, or HuBERT Base (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="runs of each command (default: %(default)s)")
    options = parser.parse_args()
    speech = Path(os.environ.get("SOFTHUBERT_SPEECH", REPOSITORY.parent / "shared" / "speech"))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_librispeech_manifests(speech, work, subsets=["train-clean-100"])
        found = len((work / "train-clean-100.ltr").read_text().splitlines())
        if not 2 < options.utterances <= found:
            parser.error(f"--utterances {options.utterances}: {speech} has {found} utterances; give a number from 3 to {found}")
        for split, count in (("two", 2), ("test", options.utterances)):
            for ending, header in (("tsv", 1), ("ltr", 0)):
                lines = (work / f"train-clean-100.{ending}").read_text().splitlines(keepends=True)
                (work / f"{split}.{ending}").write_text("".join(lines[: count + header]))
        (work / "model").mkdir()
        checkpoint = write_finetuned_checkpoint(work / "model" / "checkpoint.pt", **(BASE if options.shape == "base" else RECIPE))
        infer = [sys.executable, "-m", "softhubert_plugin", "fairseq-tool", "speech_recognition/new/infer.py", "--config-dir"]
        infer += [str(REPOSITORY / "config" / "decode"), "--config-name", "viterbi", f"task.data={work}", f"common_eval.path={checkpoint}"]

        def stock(split: str, name: str, *overrides: str) -> List[str]:
            return [*infer, f"dataset.gen_subset={split}", f"common_eval.results_path={work}/{split}/{name}", *overrides]

        def ours(split: str) -> List[str]:
            command = [sys.executable, "-m", "softhubert_plugin", "decode", str(work), split, str(checkpoint)]
            return [*command, str(work / split / "ours")]

        commands = {
            "infer.py, batches of 80 s": ("batched", lambda split: stock(split, "batched")),
            "infer.py, one by one": ("single", lambda split: stock(split, "single", "dataset.batch_size=1")),
            "ours": ("ours", ours),
        }
        costs: Dict[Tuple[str, str], List[Cost]] = {}
        for _ in range(options.repeats):
            for split in ("two", "test"):
                for label, (_, command) in commands.items():
                    costs.setdefault((label, split), []).append(timed(command(split)))
        best = {key: Cost(*(min(values) for values in zip(*found))) for key, found in costs.items()}
        mine = hypotheses(work / "test" / "ours")
        threads = os.environ.get("OMP_NUM_THREADS", "one per core")
        print(f"{options.utterances} utterances, shape {options.shape}, random weights, {os.cpu_count()} cores, OMP_NUM_THREADS: {threads}")
        columns = f"{'seconds':>8}{'utt/s':>7}{'ratio':>7}{'start-up':>10}{'ratio after':>13}{'cpu s':>8}{'peak MiB':>10}"
        print(f"{'':<27}{columns}  same hypotheses")
        for label, (folder, _) in commands.items():
            whole, start = best[label, "test"], best[label, "two"].seconds
            ratio, after = (whole.seconds / best["ours", "test"].seconds), (whole.seconds - start)
            after /= best["ours", "test"].seconds - best["ours", "two"].seconds
            same = sum(a == b for a, b in zip(mine, hypotheses(work / "test" / folder)))
            print(
                f"{label:<27}{whole.seconds:>8.1f}{options.utterances / whole.seconds:>7.2f}{ratio:>7.2f}{start:>10.1f}{after:>13.2f}"
                f"{whole.processor:>8.1f}{whole.memory:>10.0f}  {same} of {len(mine)}"
            )


if __name__ == "__main__":
    main()
