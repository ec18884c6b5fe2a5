"""Reading audio and checking it: the one place that opens sound files of a manifest."""
