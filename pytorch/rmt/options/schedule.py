"""In which order the layers of several segments are computed (--schedule).

sequential  one segment after the other, every layer of each
diagonal    layers of different segments together (rmt.models.diagonal)
auto        diagonal where it was measured to be clearly faster (rmt.models.scheduled)
"""

SEQUENTIAL, DIAGONAL, AUTO = "sequential", "diagonal", "auto"
SCHEDULES = (SEQUENTIAL, DIAGONAL, AUTO)
