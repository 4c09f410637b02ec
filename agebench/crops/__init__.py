"""Aligned faces of a dataset, made once and memory-mapped for training."""

from agebench.crops.align import ALIGNMENT_VERSION, WHOLE_PICTURE, align, face_crop, template, whole_picture
from agebench.crops.make import make_crops
from agebench.crops.shards import CropPictures, CropStore, crops_folder

__all__ = [
    "ALIGNMENT_VERSION",
    "WHOLE_PICTURE",
    "CropPictures",
    "CropStore",
    "align",
    "crops_folder",
    "face_crop",
    "make_crops",
    "template",
    "whole_picture",
]
