"""Images from disk or memory: found in any common layout, decoded to one size, handed out in batches."""

from simflow.data.config import DataConfig
from simflow.data.images import ImageSet, from_arrays, load
from simflow.data.loader import Batch, batches

__all__ = ["Batch", "DataConfig", "ImageSet", "batches", "from_arrays", "load"]
