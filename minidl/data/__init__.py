"""Datasets, samplers and the DataLoader, named as in ``torch.utils.data``; random numbers for samples in ``draws``."""

from minidl.data import draws
from minidl.data.collate import default_collate, default_convert
from minidl.data.dataloader import DataLoader
from minidl.data.dataset import (
    ConcatDataset,
    Dataset,
    IterableDataset,
    SkipSample,
    Subset,
    TensorDataset,
    random_split,
)
from minidl.data.memmap import MemmapDataset, MemmapWriter
from minidl.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from minidl.data.shards import ShardDataset
from minidl.data.worker import WorkerInfo, get_worker_info

__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "IterableDataset",
    "MemmapDataset",
    "MemmapWriter",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "ShardDataset",
    "SkipSample",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "WorkerInfo",
    "default_collate",
    "default_convert",
    "draws",
    "get_worker_info",
    "random_split",
]
