"""For all tests: passive OpenMP threads, set before anything imports torch (idle threads that spin
take up the cores).
"""

import os

for name, value in {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",
}.items():
    os.environ.setdefault(name, value)
