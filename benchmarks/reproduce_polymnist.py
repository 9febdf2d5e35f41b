"""Translated PolyMNIST with the paper's settings (sections 5.1 and B.2), all ways of sharing.

    python benchmarks/reproduce_polymnist.py --polymnist-dir FOLDER --out FOLDER
    python benchmarks/reproduce_polymnist.py --mnist-dir FOLDER --backgrounds FOLDER --out FOLDER

The first form reads the published images, the second builds PolyMNIST-style ones from MNIST and
images of yours. Meant for a GPU: 12 values of beta, 5 seeds, 6 ways of sharing and 500 epochs
are 360 fits. `--preset code` follows the published program instead of the text. Stop it when you
like; the same line goes on where it was.
"""

from __future__ import annotations

import sys

from neuroalign.cli import main

if __name__ == "__main__":
    preset = [] if "--preset" in sys.argv else ["--preset", "paper"]
    sys.argv[1:1] = ["validate", "polymnist", *preset]
    main()
