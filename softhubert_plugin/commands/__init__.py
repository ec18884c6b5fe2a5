"""What the ``softhubert`` command understands: one module for each group of subcommands, put together in :mod:`softhubert_plugin.cli`."""
