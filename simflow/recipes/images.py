"""The images of more than one system: Fashion-MNIST at 32 px, and how long an epoch of ImageNet is."""

from simflow.data.config import DataConfig

EPOCH = 5004
"""Steps of one epoch of ImageNet (1 281 167 images) at batch 256, the rest dropped."""
FASHION = DataConfig(path="embedded:fashion-mnist", image_size=32, channels=1, fit="pad", flip=False)
"""Fashion-MNIST at 32 px; the embedded 6 000 images unless ``--data`` says where all 60 000 are."""
