"""``python -m softhubert_plugin`` is the ``softhubert`` command."""

import sys

from softhubert_plugin.cli import main

sys.exit(main())
