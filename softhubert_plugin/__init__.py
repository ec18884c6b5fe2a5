"""SoftHuBERT: HuBERT pretraining on uncertain targets, as a fairseq ``--user-dir`` plugin.

Importing this package is light: it imports neither fairseq nor torch. fairseq itself imports ``tasks/`` and
``models/`` when it is given this folder as its user directory; ``tasks/`` brings in the criterion and the dataset.
"""

__version__ = "0.1.0"
