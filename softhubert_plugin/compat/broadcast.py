"""What fairseq's processes tell each other when a run of several is resumed, with torch 2.6 and later.

fairseq sends the checkpoint's description, a configuration object among it, through ``torch.load``, which since torch 2.6 refuses anything
but plain data. It comes from a process of the same run and from no file, so torch's own exchange of objects may carry it.
"""

from __future__ import annotations

from typing import Any

import torch.distributed


def exchange_objects_with_torch() -> None:
    """Replace fairseq's way of sending an object from one process to the others."""
    from fairseq.distributed import utils

    def broadcast_object(obj: Any, src_rank: int, group: Any, dist_device: Any) -> Any:
        objects = [obj]
        torch.distributed.broadcast_object_list(objects, src=src_rank, group=group, device=dist_device)
        return objects[0]

    utils._broadcast_object_slow = broadcast_object
