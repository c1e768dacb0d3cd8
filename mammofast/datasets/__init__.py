"""Images whose truth is known, from the public data sets' own layouts, plain folders and phantoms. None is shipped."""

from mammofast.datasets.cbis_ddsm import read_cbis_ddsm
from mammofast.datasets.cityscapes import read_cityscapes
from mammofast.datasets.dce_mri import read_dce_mri
from mammofast.datasets.folder import read_folder, read_phantoms
from mammofast.datasets.inbreast import read_inbreast
from mammofast.datasets.record import Dataset, LeftOut, Lesion, Sample
from mammofast.datasets.splits import Split, folds, own_split, random_splits, read_split, read_splits, write_splits
from mammofast.datasets.vindr import read_vindr

READERS = {
    "inbreast": read_inbreast,
    "cbis-ddsm": read_cbis_ddsm,
    "vindr-mammo": read_vindr,
    "cityscapes": read_cityscapes,
    "folder": read_folder,
    "phantoms": read_phantoms,
    "dce-mri": read_dce_mri,
}

__all__ = [
    "READERS",
    "Dataset",
    "LeftOut",
    "Lesion",
    "Sample",
    "Split",
    "folds",
    "own_split",
    "random_splits",
    "read_cbis_ddsm",
    "read_cityscapes",
    "read_dce_mri",
    "read_folder",
    "read_inbreast",
    "read_phantoms",
    "read_split",
    "read_splits",
    "read_vindr",
    "write_splits",
]
