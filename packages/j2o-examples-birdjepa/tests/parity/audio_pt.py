"""Kaldi's filter bank and the centred short-time Fourier transform and its inverse in PyTorch."""

import math

import torch
from cases import patches_to_hear, sample, waves

RATE, WINDOW, SHIFT, FFT, MELS = 32_000, 800, 320, 1024, 128


def mel(hertz):
    return 1127 * math.log(1 + hertz / 700)


def fbank(wave):
    """Log energies [frames, 128] of a waveform, all in float64."""
    frames = wave.unfold(0, WINDOW, SHIFT)
    frames = frames - frames.mean(dim=1, keepdim=True)
    before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    frames = (frames - 0.97 * before) * torch.hann_window(WINDOW, periodic=False, dtype=torch.float64)
    power = torch.fft.rfft(frames, n=FFT).abs().square()
    low, high = mel(20), mel(RATE / 2)
    step = (high - low) / (MELS + 1)
    bins = torch.tensor([mel(k * RATE / FFT) for k in range(FFT // 2)], dtype=torch.float64)
    energies = []
    for number in range(MELS):
        left, centre, right = (low + (number + i) * step for i in range(3))
        weights = torch.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)).clamp(min=0)
        energies.append(power[:, : FFT // 2] @ weights)
    return torch.stack(energies, dim=1).clamp(min=torch.finfo(torch.float32).eps).log()


def stft(wave):
    window = torch.hann_window(WINDOW, dtype=torch.float64)
    return torch.stft(wave, FFT, SHIFT, WINDOW, window, center=True, pad_mode="reflect", return_complex=True)


def istft(spectrum, samples):
    window = torch.hann_window(WINDOW, dtype=torch.float64)
    return torch.istft(spectrum, FFT, SHIFT, WINDOW, window, center=True, length=samples)


def heard(wave, active):
    """The clip with only those bins and frames that active patches [256] cover, at the times of active patches."""
    spectrum = stft(wave)
    edges = [700 * (math.exp((mel(20) + i * (mel(16_000) - mel(20)) / 8) / 1127) - 1) for i in range(9)]
    frequencies = [k * RATE / FFT for k in range(FFT // 2 + 1)]
    keep = torch.zeros(spectrum.shape, dtype=torch.bool)
    for patch in torch.from_numpy(active).nonzero()[:, 0].tolist():
        row, band = divmod(patch, 8)
        for k, frequency in enumerate(frequencies[:-1]):  # the highest bin is in no band
            if edges[band] <= frequency < edges[band + 1]:
                keep[k, 16 * row : 16 * (row + 1)] = True
    clip = istft(torch.where(keep, spectrum, 0), len(wave))
    rows = sorted({patch // 8 for patch in torch.from_numpy(active).nonzero()[:, 0].tolist()})
    return torch.cat([clip[5120 * row : 5120 * (row + 1)] for row in rows])


def goldens():
    """Numbers of the filter bank, of both transforms and of a filtered clip."""
    found = {}
    for name, wave in waves().items():
        wave = torch.from_numpy(wave)
        spectrum = stft(wave)
        damped = spectrum * torch.linspace(1, 0, 513, dtype=torch.float64)[:, None]
        found |= {
            f"{name}/fbank": sample(fbank(wave).numpy(), 500),
            f"{name}/stft": sample(torch.view_as_real(spectrum).numpy(), 500),
            f"{name}/istft": sample(istft(damped, len(wave)).numpy(), 500),
            f"{name}/heard": sample(heard(wave, patches_to_hear()).numpy(), 500),
        }
    return found
