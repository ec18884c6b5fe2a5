"""Tables and plots that compare experiments. This is the last stage: it reads the files that the other stages wrote.

It never imports fairseq or torch, so that results can be viewed on any machine.
"""

from softhubert_plugin.report.write import write_report

__all__ = ["write_report"]
