"""pysof on one NDJSON file, once, on one thread: VIEWDEFINITION IN.ndjson OUT.ndjson.

Prints one JSON object: the version, how many rows there were, and the seconds that it took, of the processor (all threads of
the process together) and of the clock. Reading the definition and starting Python are not counted.
"""

import json
import sys
import time
from pathlib import Path

try:
    import pysof
except ImportError as error:
    sys.exit(f"pysof cannot be imported: {error}")
if pysof.__version__ == "0.0.0-dev":
    # Its Python part loads without its native part, and then does nothing.
    sys.exit("pysof's native part cannot be loaded; benches/setup.sh says what it needs")

definition, source, target = sys.argv[1:]
view = Path(definition).read_bytes()
cpu, clock = time.process_time(), time.perf_counter()
statistics = pysof.process_ndjson_to_file(view, source, target, "ndjson")
result = {
    "peer": f"pysof {pysof.__version__}",
    "rows": statistics["output_rows"],
    "cpu_s": time.process_time() - cpu,
    "clock_s": time.perf_counter() - clock,
}
print(json.dumps(result))
