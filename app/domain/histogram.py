"""Histograms of durations in buckets that grow: a percentile is off by a tenth at most, whatever the load. Pure.

Bucket ``n`` has the durations from 2^(n/4) to below 2^((n+1)/4) milliseconds; those below one millisecond are in bucket
0. The function count_minutes of the schema fills them by the same rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import ceil, floor, log2

# Buckets for each doubling: half a bucket is a factor of 2^(1/8), or 1.09.
PER_DOUBLING = 4

Histogram = Mapping[int, int]


def bucket_of(milliseconds: float) -> int:
    """The bucket of a duration."""
    return floor(PER_DOUBLING * log2(max(1.0, milliseconds)))


def read(stored: Mapping[str, int]) -> Histogram:
    """A histogram as it was stored, in JSON."""
    return {int(bucket): count for bucket, count in stored.items()}


def write(histogram: Histogram) -> dict[str, int]:
    """A histogram as it is stored, in JSON."""
    return {str(bucket): count for bucket, count in histogram.items()}


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """All of them together."""
    total = Counter[int]()
    for one in histograms:
        total.update(one)
    return total


def percentile(histogram: Histogram, part: float) -> float | None:
    """The duration in milliseconds that ``part`` of the values do not exceed: the middle of its bucket.

    None without a value.
    """
    left = ceil(part * sum(histogram.values()))
    for bucket in sorted(histogram):
        left -= histogram[bucket]
        if left <= 0:
            return round(float(2 ** ((bucket + 0.5) / PER_DOUBLING)), 1)
    return None
