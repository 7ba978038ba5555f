"""The colours of all figures, by their meaning.

Most are of Okabe and Ito's palette, which colour-blind readers can tell apart.
"""

from __future__ import annotations

#: The prior, and images that are decoded from its draws.
PRIOR = "#d55e00"
#: The guide: encodings, posterior draws, the aggregate posterior, reconstructions.
GUIDE = "#0072b2"
#: A second part of a quantity of the guide, and a guide that was refined for each image.
GUIDE_LIGHT = "#56b4e9"
#: A Normal of full rank that was refined for each image, next to the guide.
FULL_RANK = "#882255"
#: The exact posterior, by Markov chain Monte Carlo.
EXACT = "#009e73"
#: Images of a split, as they are.
DATA = "#4d4d4d"
#: Images of a second data set, that of `--against`.
AGAINST = "#332288"
#: The images that the user asked for, among others.
SHOWN = "#cc79a7"
#: Deviations from expected values.
WARNING = "#e69f00"
#: Inactive dimensions and other items without emphasis.
NEUTRAL = "#999999"

#: Reference lines and outlines, captions, grids, bands and fills, the background.
INK, SOFT, GRID, PALE, PAPER = "#000000", "#5f6368", "#dddddd", "#e8e8e8", "#ffffff"

#: Classes of images, or runs, in order.
CATEGORIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")

#: Colour maps: values of either sign, values from 0 on black, values of points (more is darker),
#: images of one channel, shares from 0 on white.
DIVERGING, HEAT, SEQUENTIAL, GREY_LEVELS = "RdBu_r", "magma", "viridis_r", "gray"
SHARES = "Blues"
