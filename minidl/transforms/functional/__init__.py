"""What the transforms do, as functions of an image and given parameters, named as in ``torchvision.transforms.v2.functional``."""
