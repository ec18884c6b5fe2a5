"""Tasks of the plugin. fairseq imports this package first, so it brings in what fairseq does not look for itself."""

from softhubert_plugin.interop.hubert_ctc_settings import complete_hubert_ctc
from softhubert_plugin.interop.safe_globals import accept_stock_checkpoints

accept_stock_checkpoints()
complete_hubert_ctc()

from softhubert_plugin import criterions  # noqa: E402  (needs fairseq, like the tasks themselves)

__all__ = ["criterions"]
