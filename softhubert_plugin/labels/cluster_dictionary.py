"""Decide which clusters ``dict.km.txt`` lists. All splits in a folder share it, so it never changes without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Set

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.labels.hard import cluster_numbers
from softhubert_plugin.manifests import read_dictionary, write_cluster_dictionary


class ClusterDictionary:
    """The dictionary of the hard labels in a folder.

    Args:
        folder: the folder of labels.
        given: the number of clusters, if the user names it.
        recorded: the number of clusters, if the labels record it.

    Attributes:
        path: the dictionary.

    Raises:
        SoftHubertError: these numbers contradict each other, or the dictionary that is already there.
    """

    def __init__(self, folder: Path, *, given: Optional[int] = None, recorded: Optional[int] = None) -> None:
        self.path = folder / "dict.km.txt"
        if given is not None and given < 1:
            raise SoftHubertError(f"--clusters {given}: expected 1 or more clusters")
        if given is not None and recorded is not None and given != recorded:
            raise SoftHubertError(f"--clusters {given}, but these labels were made with {recorded} clusters; leave the option out")
        self._folder = folder
        self._known = recorded if given is None else given
        self._listed = cluster_numbers(self.path, read_dictionary(self.path)) if self.path.exists() else None
        if given is None and recorded is not None and self._listed not in (None, list(range(recorded))):
            raise SoftHubertError(
                f"{self.path}: lists {len(self._listed or [])} clusters, but these labels were made with {recorded}; label all splits with "
                "one clustering, or remove the dictionary if the labels of the other splits are old"
            )

    def check(self, used: Set[int]) -> None:
        """Check that the dictionary has, or can have, the labels that are used.

        Raises:
            SoftHubertError: it has not.
        """
        if self._known is not None and max(used) >= self._known:
            raise SoftHubertError(
                f"label {max(used)}, but the clustering has only the {self._known} clusters 0 to {self._known - 1}; the labels come from "
                "another clustering: dump them again, or correct --clusters"
            )
        if self._known is None and self._listed is not None and not used <= set(self._listed):
            raise SoftHubertError(
                f"label {max(used.difference(self._listed))} is not one of the {len(self._listed)} clusters in {self.path}; give the "
                "clustering's number of clusters with --clusters, or remove the dictionary if it is old"
            )

    def write(self, used: Set[int]) -> str:
        """Write the dictionary if it is not there as it should be. Return a phrase that says what it lists.

        Args:
            used: the labels that are used. The dictionary ends with the largest one if the number of clusters is not known.
        """
        wanted = self._listed if self._known is None else list(range(self._known))
        guessed = wanted is None
        clusters = list(range(max(used) + 1)) if wanted is None else wanted
        said = f"{self.path.name} lists {len(clusters)} clusters"
        if clusters != self._listed:
            write_cluster_dictionary(self._folder, "km", len(clusters))
            if self._listed is not None:
                said += f" (before: {len(self._listed)})"
        if guessed:
            said += ", up to the largest label: if the clustering has more, merge again with --clusters"
        return said
