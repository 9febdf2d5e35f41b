"""Bimodal CelebA with the paper's settings (sections 5.2 and B.3), all ways of sharing.

    python benchmarks/reproduce_celeba.py --celeba-dir FOLDER --out FOLDER

Meant for a GPU: 5 values of beta, 3 seeds, 6 ways of sharing and 250 epochs of 160,000 faces are
90 fits. `--preset code` follows the published program instead of the text. Stop it when you
like; the same line goes on where it was.
"""

from __future__ import annotations

import sys

from neuroalign.cli import main

if __name__ == "__main__":
    preset = [] if "--preset" in sys.argv else ["--preset", "paper"]
    sys.argv[1:1] = ["validate", "celeba", *preset]
    main()
