"""Draw the soft units of a WAV or FLAC file: the posterior of each mixture component in every 20 ms frame, and the perplexity.

    python examples/posteriorgram.py speech.wav checkpoint_best.pt gmm.safetensors posteriorgram.png

The mixture must have been fitted to a layer of this model ('softhubert features hubert', then 'softhubert gmm learn'). Only components
that are probable in some frame are drawn, in the order in which they first become probable.
"""

from __future__ import annotations

import argparse

import matplotlib.pyplot as plt
import soundfile
import torch

import softhubert_plugin
from softhubert_plugin.errors import SoftHubertError, exit_with


def draw(posteriors: torch.Tensor, waveform: torch.Tensor, seconds: float, picture: str, *, least: float = 0.2) -> int:
    """Draw the waveform, the posteriorgram and the perplexity of each frame.

    Args:
        posteriors: ``(frames, K)``, the posterior of each of K components.
        waveform: ``(samples,)``.
        seconds: duration of both, in seconds.
        picture: file to write; its extension gives the format.
        least: a component is drawn if its posterior reaches this value in some frame.

    Returns:
        The number of components drawn.
    """
    rows = torch.nonzero(posteriors.amax(0) >= least).flatten()
    rows = rows[(posteriors[:, rows] >= least).float().argmax(0).argsort()]
    perplexity = (-torch.xlogy(posteriors, posteriors).sum(1)).exp()
    figure, (top, middle, bottom) = plt.subplots(
        3, 1, figsize=(max(6.0, 2.5 * seconds), 7), sharex=True, height_ratios=[1, 5, 1], layout="constrained"
    )
    top.plot(torch.linspace(0, seconds, len(waveform)), waveform, linewidth=0.4, color="0.2")
    top.set_yticks([])
    image = middle.imshow(
        posteriors[:, rows].T,
        aspect="auto",
        origin="lower",
        cmap="magma",
        vmin=0,
        vmax=1,
        extent=(0, seconds, 0, len(rows)),
        interpolation="none",
    )
    middle.set_ylabel(f"{len(rows)} of {posteriors.shape[1]} components")
    figure.colorbar(image, ax=middle, label="posterior", fraction=0.03, pad=0.01)
    bottom.step(torch.arange(len(perplexity)) * seconds / len(perplexity), perplexity, where="post", linewidth=0.8)
    bottom.set(xlabel="seconds", ylabel="perplexity", ylim=(0, None), xlim=(0, seconds))
    figure.savefig(picture, dpi=150)
    plt.close(figure)
    return len(rows)


def main() -> None:
    """Read the command line, compute the posteriors and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", help="WAV or FLAC file at 16 kHz")
    parser.add_argument("checkpoint", help="checkpoint, or folder in the format of transformers")
    parser.add_argument("mixture", help="mixture file, such as gmm.safetensors")
    parser.add_argument("picture", help="picture to write: .png, .svg or .pdf")
    arguments = parser.parse_args()
    try:
        model = softhubert_plugin.load(arguments.checkpoint, mixture=arguments.mixture)
        try:
            samples, rate = soundfile.read(arguments.audio, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise SoftHubertError(f"{arguments.audio}: not readable as audio ({error}); give a WAV or FLAC file") from None
        if rate != model.sample_rate:
            raise SoftHubertError(f"{arguments.audio}: sampled at {rate} Hz, expected {model.sample_rate} Hz; resample the file")
        waveform = torch.from_numpy(samples.mean(1))
        posteriors, _ = model.posteriors(waveform)
    except SoftHubertError as error:
        exit_with(error)
    drawn = draw(posteriors[0], waveform, len(waveform) / rate, arguments.picture)
    print(f"{arguments.picture}: {posteriors.shape[1]} frames, {drawn} of {posteriors.shape[2]} components drawn")


if __name__ == "__main__":
    main()
