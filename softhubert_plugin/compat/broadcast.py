"""Lets fairseq's processes exchange objects when a multi-process run is resumed with torch 2.6 or later.

fairseq sends the checkpoint's description, which contains a configuration object, through ``torch.load``. Since torch 2.6 that function
refuses anything but plain data. The object comes from a process of the same run, not from a file, so torch's own object exchange is safe.
"""

from __future__ import annotations

from typing import Any

import torch.distributed


def exchange_objects_with_torch() -> None:
    """Replace fairseq's function that sends an object from one process to the others."""
    from fairseq.distributed import utils

    def broadcast_object(obj: Any, src_rank: int, group: Any, dist_device: Any) -> Any:
        objects = [obj]
        torch.distributed.broadcast_object_list(objects, src=src_rank, group=group, device=dist_device)
        return objects[0]

    utils._broadcast_object_slow = broadcast_object
