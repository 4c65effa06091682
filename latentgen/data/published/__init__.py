"""Readers of published image data sets from their own original files.

| name             | train   | test    | an example  | labels                              |
|------------------|---------|---------|-------------|-------------------------------------|
| cifar10          | 50,000  | 10,000  | 32 x 32 x 3 | 10                                  |
| cifar100         | 50,000  | 10,000  | 32 x 32 x 3 | 100, the fine ones                  |
| svhn             | 73,257  | 26,032  | 32 x 32 x 3 | 10 digits                           |
| stl10            | 5,000   | 8,000   | 96 x 96 x 3 | 10                                  |
| stl10_unlabeled  | 100,000 |         | 96 x 96 x 3 | none                                |
| omniglot         | 19,280  | 13,180  | 105 x 105   | 50 alphabets                        |
| emnist           | 112,800 | 18,800  | 28 x 28     | 47; more in emnist/byclass, ...     |
| dsprites         | 737,280 |         | 64 x 64     | 3 shapes; five factors              |
| shapes3d         | 480,000 |         | 64 x 64 x 3 | 4 shapes; six factors; needs h5py   |

`celeba` reads the lists of CelebA. Sizes are the published ones; readers yield what the files have.
"""

from latentgen.data.published.cifar import CIFAR10, CIFAR100
from latentgen.data.published.dsprites import DSPRITES
from latentgen.data.published.emnist import EMNIST
from latentgen.data.published.files import find, verify
from latentgen.data.published.omniglot import OMNIGLOT
from latentgen.data.published.shapes3d import SHAPES3D
from latentgen.data.published.stl10 import STL10, UNLABELED
from latentgen.data.published.svhn import SVHN
from latentgen.data.published.types import BLOCK, File, Files, Published
from latentgen.data.store import Block

__all__ = ["BLOCK", "PUBLISHED", "Block", "File", "Files", "Published", "find", "verify"]

PUBLISHED: dict[str, Published] = {
    published.name: published
    for published in (
        *(CIFAR10, CIFAR100, SVHN, STL10, UNLABELED, OMNIGLOT),
        *(*EMNIST, DSPRITES, SHAPES3D),
    )
}
"""Name -> data set."""
