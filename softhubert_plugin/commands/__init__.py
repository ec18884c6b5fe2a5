"""The subcommands of ``softhubert``, one module per group. :mod:`softhubert_plugin.cli` puts them together."""
