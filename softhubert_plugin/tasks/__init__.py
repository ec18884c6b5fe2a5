"""Tasks of the plugin. fairseq imports this package first.

It therefore applies the fixes of ``compat`` and imports the criteria and optimizers, which fairseq does not look for itself.
"""

from softhubert_plugin.checkpoints.load import read_checkpoint
from softhubert_plugin.compat.atomic_checkpoints import write_checkpoints_atomically
from softhubert_plugin.compat.broadcast import exchange_objects_with_torch
from softhubert_plugin.compat.first_settings import check_first_settings
from softhubert_plugin.compat.gradient_norm import clip_gradients_where_they_are
from softhubert_plugin.compat.hubert_ctc_settings import complete_hubert_ctc
from softhubert_plugin.compat.known_warnings import silence_known_warnings
from softhubert_plugin.compat.last_batch import keep_the_last_batch
from softhubert_plugin.compat.last_line import end_with_the_cause
from softhubert_plugin.compat.mixed_precision import refuse_optimizers_in_one_line, unscale_gradients_once
from softhubert_plugin.compat.resumed_training import check_resumed_trainings
from softhubert_plugin.compat.safe_globals import accept_stock_checkpoints
from softhubert_plugin.compat.unreadable_checkpoints import name_unreadable_checkpoints

end_with_the_cause()  # first, so that it reports what goes wrong in the others
accept_stock_checkpoints()
write_checkpoints_atomically()
name_unreadable_checkpoints(read_checkpoint)
exchange_objects_with_torch()
keep_the_last_batch()
complete_hubert_ctc()
clip_gradients_where_they_are()
unscale_gradients_once()
refuse_optimizers_in_one_line()
silence_known_warnings()
check_first_settings()

from softhubert_plugin import criterions, optim  # noqa: E402  (need fairseq, like the tasks themselves)
from softhubert_plugin.tasks.resuming import check_resumed  # noqa: E402  (too)

check_resumed_trainings(check_resumed)  # after unreadable checkpoints, which are then named first

__all__ = ["criterions", "optim"]
