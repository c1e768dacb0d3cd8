"""Changes an archive, results or a bundle in many ways and reads what is left, each time in a process with limits.

    python tampering.py archive|results|bundle FOLDER COUNT WORK

Prints what did not end with success or an error raised on purpose, as JSON by number. A program of its own, since a
process that has read arrays has threads, and must not be forked.
"""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import traceback
from pathlib import Path

from mammofast import open_archive, open_bundle, open_results
from mammofast.errors import MammofastError
from mammofast.records import GreyPipeline

# Address space beyond what the process has; an image of the archive takes less than 1 MB.
MEMORY_BYTES = 2 << 30
SECONDS = 20
AT_ONCE = 25
ABSURD = (0, -1, 1, 1 << 31, 1 << 40, 10**30, 1e308, None, "", "0", [], {}, [[[]]], True, "../../../etc/passwd", "\0")


def apart(act):
    """Run something in a process with limits; return what was wrong with how it ended, or None."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_BYTES,) * 2)
        signal.alarm(SECONDS)
        try:
            act()
        except BaseException:
            os.write(writing, traceback.format_exc().encode()[-1500:])
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return None if status == 0 else f"{status}: {said}"


def read_archive(path):
    """Read whatever there is, as screening and reports do. Only errors raised on purpose may come out."""
    ours = contextlib.suppress(MammofastError)
    with ours:
        archive = open_archive(path)
        for image in archive.images():
            for level in (0, 1, 2):
                with ours:
                    image.read(level)
                if min(image.shape) >> level > 1:
                    with ours:
                        image.read(level, (0, 0, 1, 1))
            with ours:
                bytes(image.header_bytes)
            with ours:
                image.grey_table(GreyPipeline())
        list(archive.skipped())


def read_results(path):
    """The same for results."""
    with contextlib.suppress(MammofastError):
        results = open_results(path)
        rows = results.images().to_pylist()
        list(results.runs())
        results.findings()
        for row in rows:
            with contextlib.suppress(MammofastError):
                results.mask(row["sop_uid"] or "1.2.3")


def read_bundle(path):
    """The same for a bundle."""
    with contextlib.suppress(MammofastError), open_bundle(path):
        pass


def mutate_json(value, rng):
    """Put something absurd somewhere."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        if rng.random() < 0.1:
            return {name: value[name] for name in value if name != key}
        return value | {key: mutate_json(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        index = rng.randrange(len(value))
        return [*value[:index], mutate_json(value[index], rng), *value[index + 1 :]]
    return rng.choice(ABSURD)


def mutate(path, rng):
    """Change one file."""
    data = bytearray(path.read_bytes())
    how = rng.randrange(8)
    if how < 4 and path.suffix == ".json":
        path.write_text(json.dumps(mutate_json(json.loads(data), rng)))
    elif how == 4:
        path.write_bytes(data[: rng.randrange(len(data))])
    elif how == 5:
        path.write_bytes(b"[" * rng.choice((10, 10**5)) if path.suffix == ".json" else rng.randbytes(len(data)))
    elif how == 6:
        path.unlink()
    else:
        for _ in range(rng.choice((1, 2, 8))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)


def one(source, work, read, number):
    """Change a copy of a folder and read it."""
    rng, copy = random.Random(number), work / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(source, copy)
    found = sorted(path for path in copy.rglob("*") if path.is_file())
    for path in rng.sample(found, rng.choice((1, 1, 1, 2))):
        mutate(path, rng)
    read(copy)


def main():
    """Run the command line."""
    kind, source, count, work = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    reads = {"archive": read_archive, "results": read_results, "bundle": read_bundle}
    wrong = {}
    for start in range(0, count, AT_ONCE):
        numbers = range(start, start + AT_ONCE)
        if apart(lambda ns=numbers: [one(source, work, reads[kind], n) for n in ns]):
            wrong |= {n: said for n in numbers if (said := apart(lambda n=n: one(source, work, reads[kind], n)))}
    print(json.dumps(wrong))


if __name__ == "__main__":
    main()
