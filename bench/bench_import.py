"""Time of `import qjax` over time of `import jax`, in fresh processes that alternate."""

import statistics
import subprocess
import sys

from _timing import arguments, machine

CODE = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def seconds(module: str) -> float:
    """Seconds that a fresh process needs to import `module`."""
    command = [sys.executable, "-c", CODE.format(module)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Prints both medians and their ratio; the aim is a ratio below 1.5."""
    options = arguments(__doc__ or "")
    rounds = 2 if options.toy else 15
    for module in ("jax", "qjax"):
        seconds(module)  # fills the file cache and writes the bytecode
    pairs = [(seconds("jax"), seconds("qjax")) for _ in range(rounds)]
    jax_median, qjax_median = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(machine())
    print(f"import jax   {jax_median:.3f} s")
    print(f"import qjax  {qjax_median:.3f} s")
    print(f"ratio        {qjax_median / jax_median:.2f}")


if __name__ == "__main__":
    main()
