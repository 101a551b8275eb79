"""dlzoo: classic deep-learning systems that run, composed from YAML by Hydra and trained by Lightning."""

import os

# Threads that wait for work may spin for microseconds, not for milliseconds as GNU OpenMP lets them: beside another
# busy process that made small nets up to 80 times slower. Not spinning at all (OMP_WAIT_POLICY=PASSIVE) costs them a
# factor of 2.5 on a quiet machine; this costs nothing there. Read when torch is imported, so it stands here.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

__version__ = "0.1.0"
