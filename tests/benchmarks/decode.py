"""Greedy decoding against fairseq's ``infer.py`` on one checkpoint: utterances a second of the whole command, and the hypotheses.

    python -m tests.benchmarks.decode [--utterances 100] [--shape recipe|base]

Real speech from ``$SOFTHUBERT_SPEECH``, random weights. ``infer.py`` is run as our configuration has it (batches of 80 s) and one utterance
at a time, in which case nothing is padded and its hypotheses are those of each utterance alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import List, Sequence, Tuple

from softhubert_plugin.corpora.librispeech import write_librispeech_manifests
from tests.benchmarks.finetuned import BASE, RECIPE, write_finetuned_checkpoint

REPOSITORY = Path(__file__).parents[2]


def timed(command: Sequence[str]) -> Tuple[float, float]:
    """Seconds and peak MiB of a command and its children."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HYDRA_FULL_ERROR": "1"}
    started = time.monotonic()
    done = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(done.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return time.monotonic() - started, usage.ru_maxrss / 1024


def hypotheses(folder: Path) -> List[str]:
    return sorted((folder / "hypo.units").read_text().splitlines())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=100)
    parser.add_argument("--shape", choices=["recipe", "base"], default="recipe")
    options = parser.parse_args()
    speech = Path(os.environ.get("SOFTHUBERT_SPEECH", REPOSITORY.parent / "shared" / "speech"))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_librispeech_manifests(speech, work, subsets=["train-clean-100"])
        for ending, header in (("tsv", 1), ("ltr", 0)):
            lines = (work / f"train-clean-100.{ending}").read_text().splitlines(keepends=True)
            (work / f"test.{ending}").write_text("".join(lines[: options.utterances + header]))
        (work / "model").mkdir()
        checkpoint = write_finetuned_checkpoint(work / "model" / "checkpoint.pt", **(BASE if options.shape == "base" else RECIPE))
        infer = [sys.executable, "-m", "softhubert_plugin.interop.fairseq_tool", "speech_recognition/new/infer.py", "--config-dir"]
        infer += [str(REPOSITORY / "config" / "decode"), "--config-name", "viterbi", f"task.data={work}", f"common_eval.path={checkpoint}"]
        ours = [sys.executable, "-m", "softhubert_plugin", "decode", str(work), "test", str(checkpoint)]
        runs = {
            "infer.py, batches of 80 s": ([*infer, f"common_eval.results_path={work}/batched"], work / "batched"),
            "infer.py, one by one": ([*infer, f"common_eval.results_path={work}/single", "dataset.batch_size=1"], work / "single"),
            "ours": ([*ours, str(work / "ours")], work / "ours"),
        }
        results = {label: timed(command) for label, (command, _) in runs.items()}
        mine = hypotheses(work / "ours")
        print(f"{options.utterances} utterances, shape {options.shape}, {os.cpu_count()} cores, random weights")
        print(f"{'':<28}{'seconds':>9}{'utt/s':>8}{'ratio':>7}{'peak MiB':>10}  same hypotheses")
        for label, (seconds, memory) in results.items():
            same = sum(a == b for a, b in zip(mine, hypotheses(runs[label][1])))
            ratio = seconds / results["ours"][0]
            print(f"{label:<28}{seconds:>9.1f}{options.utterances / seconds:>8.2f}{ratio:>7.2f}{memory:>10.0f}  {same} of {len(mine)}")


if __name__ == "__main__":
    main()
