"""Run the command line, and keep how much memory it had at the most.

    python benchmarks/memory.py peak.txt scan photos --output verdicts.csv

The first file has the peak in MiB. It is the kernel's own, of this process alone: that of getrusage counts the parent
before it became another process. Needs Linux.
"""

import atexit
import re
import sys
from pathlib import Path


def peak_mib() -> float:
    """Say how much memory this process has had at the most."""
    (kib,) = re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(kib) / 1024


def main() -> None:
    """Run what the words after the file's name say."""
    kept = Path(sys.argv.pop(1))
    atexit.register(lambda: kept.write_text(str(peak_mib())))

    from blurgate import cli  # what is measured is to have no more in it than a scan needs

    cli.main()


if __name__ == "__main__":
    main()
