"""The sentences of the spoken corpus: digit strings and short household commands, 41 words in all."""

from __future__ import annotations

import random

DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
DEVICES = ("LIGHT", "LAMP", "RADIO", "HEATER", "FAN", "TELEVISION")
ROOMS = ("KITCHEN", "BEDROOM", "GARDEN", "OFFICE", "BATHROOM")
PEOPLE = ("MOTHER", "SUSAN", "GEORGE", "DOCTOR")
COLOUR_WORDS = ("RED", "BLUE", "GREEN")


def random_sentence(rng: random.Random) -> str:
    """Return a random sentence, in capitals."""
    if rng.random() < 0.4:
        return " ".join(rng.choice(DIGITS) for _ in range(rng.randint(3, 7)))
    kind = rng.randrange(4)
    if kind == 0:
        return f"TURN {rng.choice(('ON', 'OFF'))} THE {rng.choice(DEVICES)} IN THE {rng.choice(ROOMS)}"
    if kind == 1:
        return f"MAKE THE {rng.choice(ROOMS)} {rng.choice(DEVICES[:2])} {rng.choice(COLOUR_WORDS)}"
    if kind == 2:
        return f"CALL {rng.choice(PEOPLE)} AT {' '.join(rng.choice(DIGITS) for _ in range(3))}"
    return f"SET THE {rng.choice(DEVICES[2:5])} TO {rng.choice(DIGITS)}"
