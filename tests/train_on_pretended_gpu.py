"""``fairseq-hydra-train`` on pretended GPUs: ``train_on_pretended_gpu.py GPUS RESULT ARGUMENT…``.

Writes to RESULT, for each update, its loss, and which waits, uploads and launches the trainer's step made. Data come from this process, so
that every copy to the device is seen.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Dict, List

import torch
from fairseq.trainer import Trainer
from fairseq_cli.hydra_train import cli_main
from pretended_gpu import pretend


def main(gpus: int, result: str, arguments: List[str]) -> None:
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
            Path(result).write_text(json.dumps(updates))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
