"""The version of this package. ``setup.py`` and every module read it from here, so this file imports nothing."""

__version__ = "0.2.0"
