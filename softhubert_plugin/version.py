"""The version of this package, in one place that imports nothing: ``setup.py`` and every module read it from here."""

__version__ = "0.2.0"
