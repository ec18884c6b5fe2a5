"""The difference between two systems for other seeds and other speakers: a hierarchical bootstrap interval.

The model: every seed's models read the same speakers, so seeds and speakers are crossed. The difference of word error rates of seed s on
speaker k is the true difference + an effect of the seed + an effect of the speaker (one system may suit some voices better, with any
seed) + noise. The speakers' effects do not average out over seeds: drawing new speakers for each drawn seed, as for nested data, would
make the interval too short. Both systems always get the same seeds and the same speakers.

The three variances come from the analysis of variance of crossed random effects (Obuchowski and Rockette 1995 and Hillis 2007, for
readers and cases; Owen 2007, *The pigeonhole bootstrap*, on why the noise is counted once too often if rows and columns are just
resampled). The bootstrap draws seeds and speakers and studentises each draw (Davison and Hinkley 1997, sections 2.4 and 3.8);
the interval is symmetric (Hall 1988), so that it excludes zero just where its p-value is under 0.05:

* **Seeds** are drawn from the normal distribution with their estimated variance. Two to ten are too few to resample: with two, half of all
  samples contain one seed twice and show no spread.
* **Speakers** are resampled, with their effects shrunk to the estimated variance. More than a thousand are drawn from the normal
  distribution, where it makes no difference.

Fewer than ten speakers are too few to resample. Then there is no bootstrap: the interval is Student's t with the same variance and
Satterthwaite's degrees of freedom, at most one less than there are speakers.

Without speakers' effects, the bootstrap is Student's t over seeds; without seeds' effects, it is the studentised bootstrap over speakers
of :mod:`softhubert_plugin.scoring.intervals`.

**Why the verdict uses this interval.** In simulations with 20 and 40 speakers, seeds' effects of 0.3 points and speakers' effects of 0 to 4
points, with 2, 3, 5 and 10 seeds, it covers the true difference in 93 to 97 % of draws. Student's t over seeds covers it in 95 % if
speakers do not prefer one of the systems, and else in as little as 84 % with two seeds, 63 % with three, 40 % with five and 25 % with ten:
it knows nothing of other speakers. Percentiles of seeds and speakers that are just resampled cover 91 to 99.8 %, and 67 to 100 % with
speakers nested in seeds. With two to nine speakers, this interval covers 94 to 100 %: it is too long rather than too short.
``tests/test_seeds.py`` repeats it with 30 speakers and effects up to 2 points.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Tuple

import numpy as np

from softhubert_plugin.scoring.bootstrap import resampled
from softhubert_plugin.scoring.intervals import CONFIDENCE, FEW

SEED_REPLICATES = 10_000
_MANY = 1_000  # from here on, a mean over speakers is as good as normal
_CELLS = 4_000_000  # numbers held in memory at the same time


class CrossedInterval(NamedTuple):
    """A 95 % interval of the difference, or of each of many differences.

    Attributes:
        difference: mean over seeds and speakers.
        low, high: ends of the interval.
        p_value: two-sided p-value of a true difference of zero; 1 if there is no spread.
    """

    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_value: np.ndarray


def difference_table(differences: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Spread a difference of word error rates over seeds and speakers.

    Args:
        differences: ``(..., seeds, speakers)`` errors of the second system minus errors of the first.
        words: ``(..., seeds, speakers)`` reference words, or a shape that broadcasts to it.

    Returns:
        ``(..., seeds, speakers)`` contributions, linearised at the mean difference (Cochran 1977, section 6.4). The mean over speakers is
        exactly the difference of the seed's word error rates.
    """
    total = words.sum(-1, keepdims=True)
    mean = (differences.sum(-1, keepdims=True) / total).mean(-2, keepdims=True)
    return np.asarray(mean + (differences - mean * words) * (differences.shape[-1] / total))


def crossed_interval(table: np.ndarray, *, replicates: int = SEED_REPLICATES) -> CrossedInterval:
    """Compute the interval that covers the choice of seeds and of speakers, as the module describes.

    Args:
        table: ``(..., seeds, speakers)`` differences, at least two seeds and two speakers. Leading axes are independent comparisons; they
            use the same random numbers.
        replicates: number of bootstrap samples.
    """
    tables = np.asarray(table, dtype=np.float64)
    shape, (seeds, speakers) = tables.shape[:-2], tables.shape[-2:]
    tables = tables.reshape(-1, seeds, speakers)
    means = tables.mean((1, 2))
    squares = _mean_squares(tables, means)
    errors = np.sqrt(_variance(*squares) / (seeds * speakers))
    if speakers < FEW:
        reach, p_value = _student(means, errors, squares, seeds, speakers)
    else:
        reach, p_value = _bootstrap(means, errors, tables.mean(1) - means[:, None], squares, seeds, replicates)
    p_value = np.where(errors <= 1e-9 * np.abs(means), 1.0, p_value)  # rounding, not spread
    return CrossedInterval(*(np.reshape(values, shape) for values in (means, means - reach, means + reach, p_value)))


_Squares = Tuple[np.ndarray, ...]  # mean squares of seeds, of speakers and of the noise, (comparisons,) each


def _mean_squares(tables: np.ndarray, means: np.ndarray) -> _Squares:
    """Analyse the variance of ``(comparisons, seeds, speakers)`` tables."""
    _, seeds, speakers = tables.shape
    rows, columns = tables.mean(2) - means[:, None], tables.mean(1) - means[:, None]
    noise = tables - means[:, None, None] - rows[:, :, None] - columns[:, None, :]
    of_seeds = speakers * (rows**2).sum(1) / (seeds - 1)
    of_speakers = seeds * (columns**2).sum(1) / (speakers - 1)
    return of_seeds, of_speakers, (noise**2).sum((1, 2)) / ((seeds - 1) * (speakers - 1))


def _variance(of_seeds: np.ndarray, of_speakers: np.ndarray, of_noise: np.ndarray) -> np.ndarray:
    """Combine mean squares into the variance of the mean, times seeds · speakers. The noise is in both, so it is taken off once."""
    return of_seeds + np.maximum(of_speakers - of_noise, 0.0)


def _student(means: np.ndarray, errors: np.ndarray, squares: _Squares, seeds: int, speakers: int) -> Tuple[np.ndarray, ...]:
    """Return half the lengths of the intervals, and p-values, by Student's t with the degrees of freedom of Satterthwaite (1946)."""
    from scipy.stats import t as student

    of_seeds, of_speakers, of_noise = squares
    spread = of_seeds**2 / (seeds - 1)
    spread += np.where(of_speakers > of_noise, (of_speakers**2 + of_noise**2 / (seeds - 1)) / (speakers - 1), 0.0)
    freedom = np.maximum(np.divide(_variance(*squares) ** 2, spread, out=np.ones_like(spread), where=spread > 0), 1.0)
    freedom = np.minimum(freedom, speakers - 1)  # a few speakers may hide an effect of speakers by chance
    reach = student.ppf(0.5 + CONFIDENCE / 2, freedom) * errors
    scores = np.divide(np.abs(means), errors, out=np.zeros_like(means), where=errors > 0)
    return reach, 2 * student.sf(scores, freedom)


def _bootstrap(
    means: np.ndarray, errors: np.ndarray, effects: np.ndarray, squares: _Squares, seeds: int, replicates: int
) -> Tuple[np.ndarray, ...]:
    """Return half the lengths of the intervals, and p-values, by the studentised bootstrap, a block of comparisons at a time."""
    reach, p_value = np.empty_like(means), np.empty_like(means)
    block = max(1, _CELLS // (8 * replicates))
    for start in range(0, len(means), block):
        part = slice(start, start + block)
        scores = np.abs(_draw(effects[part], tuple(square[part] for square in squares), seeds, replicates))
        reach[part] = np.quantile(scores, CONFIDENCE, axis=1) * errors[part]
        p_value[part] = np.maximum((scores * errors[part, None] >= np.abs(means[part, None])).mean(1), 1 / replicates)
    return reach, p_value


def _draw(effects: np.ndarray, squares: _Squares, seeds: int, replicates: int) -> np.ndarray:
    """Draw seeds and speakers.

    Args:
        effects: ``(comparisons, speakers)`` of the speakers, over all seeds.
        squares: mean squares of the comparisons.
        seeds: number of seeds.

    Returns:
        ``(comparisons, replicates)`` deviations of the drawn means, divided by their drawn standard errors; 0 without spread.
    """
    of_seeds, of_speakers, of_noise = (square[:, None] for square in squares)
    speakers = effects.shape[1]
    generator = np.random.default_rng(0)
    deviation = np.sqrt(of_seeds) * generator.standard_normal(replicates)
    drawn_seeds = of_seeds * _chi_square(generator, seeds - 1, replicates)
    drawn_noise = of_noise * _chi_square(generator, (seeds - 1) * (speakers - 1), replicates)
    between = np.sqrt(np.maximum(of_speakers - of_noise, 0.0))
    if speakers <= _MANY:
        means, drawn_speakers = _resample_speakers(effects, seeds, generator, replicates)
        deviation += np.divide(between, np.sqrt(of_speakers), out=np.zeros_like(between), where=of_speakers > 0) * means
    else:
        deviation += between * generator.standard_normal(replicates)
        drawn_speakers = of_speakers * _chi_square(generator, speakers - 1, replicates)
    error = np.sqrt(_variance(drawn_seeds, drawn_speakers, drawn_noise))
    return np.divide(deviation, error, out=np.zeros_like(deviation), where=error > 0)


def _resample_speakers(effects: np.ndarray, seeds: int, generator: np.random.Generator, replicates: int) -> Tuple[np.ndarray, np.ndarray]:
    """Resample speakers.

    Returns:
        ``(comparisons, replicates)`` means of the drawn effects, in units in which their variance is the mean square of speakers; and the
        mean squares of the drawn speakers.
    """
    speakers = effects.shape[1]
    drawn = resampled(generator, speakers, replicates).T
    means = effects @ drawn / speakers
    squares = np.maximum(effects**2 @ drawn / speakers - means**2, 0.0)
    unbiased = speakers / (speakers - 1)  # a resampled variance is too small by this factor
    return means * math.sqrt(seeds * speakers * unbiased), squares * seeds * unbiased**2


def _chi_square(generator: np.random.Generator, freedom: int, size: int) -> np.ndarray:
    """Draw variances that are estimated with so many degrees of freedom, as multiples of the true variance."""
    return generator.chisquare(freedom, size) / freedom
