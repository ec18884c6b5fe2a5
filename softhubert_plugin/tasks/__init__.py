"""Tasks of the plugin. fairseq imports this package first, so it brings in what fairseq does not look for itself."""

from softhubert_plugin.interop.safe_globals import accept_stock_checkpoints

accept_stock_checkpoints()

from softhubert_plugin import criterions, optim  # noqa: E402  (need fairseq, like the tasks themselves)

__all__ = ["criterions", "optim"]
