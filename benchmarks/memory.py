"""Run the command line and record its peak memory.

    python benchmarks/memory.py peak.txt scan photos --output verdicts.csv

The first argument is the file for the peak in MiB. The peak is the kernel's, of this process alone; that of getrusage
includes the parent before exec. Needs Linux.
"""

import atexit
import re
import sys
from pathlib import Path


def peak_mib() -> float:
    """Read the peak memory of this process so far, in MiB."""
    (kib,) = re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(kib) / 1024


def main() -> None:
    """Run the command line with the arguments after the file name."""
    if len(sys.argv) < 3 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    output = Path(sys.argv.pop(1))
    atexit.register(lambda: output.write_text(str(peak_mib())))

    from blurgate import cli  # imported late, so that memory holds only what a scan needs

    cli.main()


if __name__ == "__main__":
    main()
