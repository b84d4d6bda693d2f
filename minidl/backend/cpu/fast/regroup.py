"""Channels of images that lie next to each other, cut into pieces of some channels each, and joined again."""

from __future__ import annotations

from minidl.backend.cpu.fast.jit import inner, kernel
from minidl.backend.cpu.fast.team import address_of, job_of, run


@inner
def _split(who, part, first, last, x, pieces):
    count, _, positions, width = pieces.shape
    for image in range(first, last):
        source = x[image].reshape(-1)
        for piece in range(count):
            target = pieces[piece, image].reshape(-1)
            for p in range(positions):
                row, to = source[p * count * width + piece * width :], target[p * width :]
                for k in range(width):
                    to[k] = row[k]


@inner
def _join(who, part, first, last, piece, begin, x):
    _, positions, width = piece.shape
    channels = x.shape[2]
    for image in range(first, last):
        source, target = piece[image].reshape(-1), x[image].reshape(-1)
        for p in range(positions):
            row, to = source[p * width :], target[p * channels + begin :]
            for k in range(width):
                to[k] = row[k]


_split_job, _join_job = job_of(_split), job_of(_join)


@kernel
def split_channels(team, *arguments):
    """x (N, positions, C) into ``pieces`` (C / width, N, positions, width). Threads share the images."""
    run(team, _split_job(arguments), address_of(arguments))


@kernel
def join_channels(team, *arguments):
    """``piece`` (N, positions, width) as the channels of x (N, positions, C) from number ``begin`` on."""
    run(team, _join_job(arguments), address_of(arguments))
