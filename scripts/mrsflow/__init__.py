"""mrsflow: functional 1H-MRS in drug trials, from raw scanner files to group figures.

Importing the package pins the BLAS libraries to one thread, so that results do not depend on the machine's
core count (parallelism is over sessions), and switches Nipype's telemetry off. It imports nothing heavy.
"""

import os

__version__ = "0.1.0"

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["NIPYPE_NO_ET"] = "1"
os.environ["NO_ET"] = "1"
