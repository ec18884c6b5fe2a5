"""Align texts whose references may have alternatives and optional words, as in NIST's ``trn`` files and as ``sclite -D`` does.

* ``{ UM / UH / @ }``: any of these word sequences is right. ``@`` is no word. Alternatives may contain alternatives.
* ``(UH)``: the word may be left out. If it is, it still counts as a correct word of the reference.

The path through the alternatives that gives the fewest errors is the reference. Among equals, sclite's weights decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from softhubert_plugin.scoring.edits import edit_steps

NULL = "@"
_DEEPEST = 50  # alternatives within alternatives
_WEIGHTS = {"C": 0, "S": 4, "D": 3, "I": 3, "O": 2, "": 0}  # sclite's, for each step; O leaves out an optional word
_MARKS = re.compile(r"[{}]|(?:^|\s)(?:@(?=\s|$)|\()")


class AlignedTexts(NamedTuple):
    """The alignment of an utterance.

    Attributes:
        reference: words of the reference; with alternatives, those of the best path.
        hypothesis: words of the hypothesis, with an empty word for each optional word of the reference that it leaves out.
        steps: one letter per step, as :func:`softhubert_plugin.scoring.edits.edit_steps` gives them.
    """

    reference: List[str]
    hypothesis: List[str]
    steps: str

    def spoken(self) -> List[str]:
        """Return the words of the reference without the optional words that the hypothesis leaves out."""
        if "" not in self.hypothesis:
            return self.reference
        said, heard = iter(self.reference), iter(self.hypothesis)
        pairs = [("" if step == "I" else next(said), None if step == "D" else next(heard)) for step in self.steps]
        return [word for word, other in pairs if word and other != ""]


def align_texts(reference: str, hypothesis: str, *, literal: bool = False, fold: Callable[[str], str] = str) -> AlignedTexts:
    """Align the texts of an utterance.

    Args:
        literal: ``{``, ``(`` and ``@`` are letters like others.
        fold: applied to each word; a word that becomes empty is no word.

    Raises:
        ValueError: the marks of alternatives are malformed, or the hypothesis has some.
    """
    words = hypothesis.split() if literal else _unmarked_words(hypothesis)
    heard = [word for word in map(fold, words) if word]
    if not literal and is_marked(reference):
        return _best_path(_parse(reference, fold), heard)
    said = [word for word in map(fold, reference.split()) if word]
    return AlignedTexts(said, heard, edit_steps(said, heard))


def is_marked(text: str) -> bool:
    """Whether a text has alternatives, optional words or ``@``."""
    return _MARKS.search(text) is not None


def _unmarked_words(text: str) -> List[str]:
    """Split the text of a hypothesis into words, without ``@``.

    Raises:
        ValueError: it has alternatives or optional words.
    """
    words = text.split()
    odd = [word for word in words if "{" in word or "}" in word or word.startswith("(")]
    if odd:
        raise ValueError(f"{odd[0]!r} marks alternatives or optional words, which only references may have")
    return [word for word in words if word != NULL]


@dataclass
class _Network:
    """Word sequences as a network, whose nodes are numbered so that every arc leads to a higher number.

    Attributes:
        nodes: number of nodes; the first is the start and the last the end.
        arcs: ``(source, word, optional)`` of the arcs that enter each node; the word of an empty arc is ``None``.
    """

    nodes: int = 1
    arcs: Dict[int, List[Tuple[int, Optional[str], bool]]] = field(default_factory=dict)

    def add(self, sources: Sequence[int], word: Optional[str], optional: bool = False) -> int:
        """Add a node with arcs from other nodes to it, all with the same word. Return the node."""
        self.arcs[self.nodes] = [(source, word, optional) for source in sources]
        self.nodes += 1
        return self.nodes - 1


def _best_path(network: _Network, hypothesis: Sequence[str]) -> AlignedTexts:
    """Align a hypothesis with the best path through a reference."""
    back = _search(network, hypothesis)
    words: List[str] = []
    heard: List[str] = []
    steps: List[str] = []
    node, place = network.nodes - 1, len(hypothesis)
    while (node, place) != (0, 0):
        node, word, step = back[node][place]
        if not step:
            continue
        steps.append("C" if step == "O" else step)
        if word is not None:
            words.append(word)
        if step in ("C", "S", "I"):
            place -= 1
            heard.append(hypothesis[place])
        elif step == "O":
            heard.append("")
    return AlignedTexts(words[::-1], heard[::-1], "".join(steps[::-1]))


_Cost = Tuple[int, int]  # errors, and sclite's weight
_Back = Tuple[int, Optional[str], str]  # the node before, the arc's word, and the step


def _search(network: _Network, hypothesis: Sequence[str]) -> List[List[_Back]]:
    """Find the last step of the cheapest way to every node with every number of hypothesis words."""
    width = len(hypothesis) + 1
    costs: List[List[_Cost]] = [[(place, _WEIGHTS["I"] * place) for place in range(width)]]
    back: List[List[_Back]] = [[(0, None, "I")] * width]
    for node in range(1, network.nodes):
        row: List[_Cost] = []
        ways: List[_Back] = []
        for place in range(width):
            found: List[Tuple[_Cost, _Back]] = []
            for source, word, optional in network.arcs[node]:
                if word is not None and place:
                    step = "C" if word == hypothesis[place - 1] else "S"
                    found.append((_after(costs[source][place - 1], step), (source, word, step)))
                step = "" if word is None else "O" if optional else "D"
                found.append((_after(costs[source][place], step), (source, word, step)))
            if place:
                found.append((_after(row[-1], "I"), (node, None, "I")))
            cost, way = min(found, key=lambda each: each[0])
            row.append(cost)
            ways.append(way)
        costs.append(row)
        back.append(ways)
    return back


def _after(cost: _Cost, step: str) -> _Cost:
    return cost[0] + (step in ("S", "D", "I")), cost[1] + _WEIGHTS[step]


def _parse(text: str, fold: Callable[[str], str]) -> _Network:
    """Parse the text of a reference.

    Raises:
        ValueError: it is malformed.
    """
    tokens = re.sub(r"([{}])", r" \1 ", text).split()
    depth = deepest = 0
    for token in tokens:
        depth += (token == "{") - (token == "}")
        deepest = max(deepest, depth)
    if depth or deepest > _DEEPEST:
        raise ValueError(
            "as many '{' as '}' are expected" if depth else f"alternatives are nested {deepest} deep, at most {_DEEPEST} are read"
        )
    network = _Network()
    end, rest = _sequence(network, tokens, 0, [0], fold, inside=False)
    if rest < len(tokens):
        raise ValueError("'}' without '{'")
    network.add(end, None)
    return network


def _sequence(
    network: _Network, tokens: Sequence[str], place: int, ends: List[int], fold: Callable[[str], str], *, inside: bool
) -> Tuple[List[int], int]:
    """Add a sequence of words and alternatives to the network.

    Args:
        place: index of its first token.
        ends: nodes where it begins.
        inside: it is an alternative, which ends at ``/`` or ``}``.

    Returns:
        The nodes where it ends, and the index of the first token after it.
    """
    while place < len(tokens) and tokens[place] != "}" and not (inside and tokens[place] == "/"):
        token = tokens[place]
        place += 1
        if token == "{":
            ends, place = _alternatives(network, tokens, place, ends, fold)
            continue
        if inside and "/" in token:
            raise ValueError(f"{token!r} within '{{ }}', where sclite takes '/' for the end of an alternative; put spaces around '/'")
        optional = token.startswith("(")
        if optional and not (token.endswith(")") and len(token) > 2):
            raise ValueError(f"{token!r}: an optional word is a single word in parentheses, such as (UH)")
        word = fold(token[1:-1] if optional else token)
        if token != NULL and word:
            ends = [network.add(ends, word, optional)]
    return ends, place


def _alternatives(
    network: _Network, tokens: Sequence[str], place: int, starts: List[int], fold: Callable[[str], str]
) -> Tuple[List[int], int]:
    """Add alternatives; ``place`` is the index of the token after ``{``. Return as :func:`_sequence` does."""
    ends: List[int] = []
    count = 0
    while True:
        begin = place
        found, place = _sequence(network, tokens, place, starts, fold, inside=True)
        if place == begin:
            raise ValueError("an empty alternative; write @ for no word")
        ends += [node for node in found if node not in ends]
        count += 1
        place += 1
        if tokens[place - 1] == "}":
            break
    if count < 2:
        raise ValueError("'{' and '}' around a single alternative; separate alternatives by ' / '")
    return ends, place
