"""``fairseq-hydra-train`` on pretended GPUs: ``train_on_pretended_gpu.py RUNS``.

RUNS is a JSON file: a list of runs, each with its number of ``gpus``, its ``folder`` and its ``arguments``. Every run has a process of its
own, as always. The processes are forked from this one, because importing fairseq anew takes longer than such a run.

A run writes to its folder ``output.txt``, ``status`` (the exit status) and ``updates.json``: for each update, its loss, and which waits,
uploads and launches the trainer's step made. Data come from the training process, so that every copy to the device is seen.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, Dict, List

import torch
from fairseq.trainer import Trainer
from fairseq_cli.hydra_train import cli_main
from pretended_gpu import pretend

AT_THE_SAME_TIME = 2


def train(gpus: int, folder: Path, arguments: List[str]) -> None:
    """Train in this process."""
    torch.set_num_threads(1)
    sys.argv = ["fairseq-hydra-train", *arguments, "dataset.num_workers=0"]
    updates: List[Dict[str, Any]] = []
    step = Trainer.train_step
    with pretend(gpus) as gpu:

        def watched(trainer: Any, samples: Any, *more: Any, **options: Any) -> Any:
            gpu.forget()
            output = step(trainer, samples, *more, **options)
            waits, uploads, launches = list(gpu.waits), [tuple(each) for each in gpu.uploads], dict(gpu.launches)
            loss = None if output is None else float(output["loss"])
            updates.append({"loss": loss, "waits": waits, "uploads": uploads, "launches": launches})
            return output

        Trainer.train_step = watched
        try:
            cli_main()
        finally:
            (folder / "updates.json").write_text(json.dumps(updates))


def start(run: Dict[str, Any]) -> int:
    """Start a run in a process of its own. Return the process's number."""
    number = os.fork()
    if number:
        return number
    folder, status = Path(run["folder"]), 1
    try:
        os.chdir(folder)
        for stream in (1, 2):
            os.dup2(os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        train(run["gpus"], folder, run["arguments"])
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        (folder / "status").write_text(str(status))
        os._exit(status)


def main(runs: List[Dict[str, Any]]) -> None:
    for position, run in enumerate(runs):
        if position >= AT_THE_SAME_TIME:
            os.wait()
        start(run)
    for _ in runs[:AT_THE_SAME_TIME]:
        os.wait()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
