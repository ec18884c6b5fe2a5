"""Tables and plots that compare experiments: the last stage, which reads what the others left in their folders.

It needs neither fairseq nor torch, so that results can be looked at anywhere.
"""

from softhubert_plugin.report.write import write_report

__all__ = ["write_report"]
