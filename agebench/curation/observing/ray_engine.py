"""The same observation with Ray Data: on a local Ray, or on a cluster whose workers see the same pictures.

Ray passes blocks of files to actors, replaces lost actors and repeats their blocks. Each actor looks at pictures in a
process of its own, so a picture that crashes this process becomes that record's fault, as in the local engine.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import tempfile
import time
import warnings
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

import agebench
from agebench.curation.observing.engine import as_rows
from agebench.curation.observing.observers import File, Observers, PictureObserver
from agebench.curation.observing.parts import PART_SCHEMA
from agebench.curation.observing.worker import observe_batch, set_up
from agebench.errors import AgebenchError, Missing, WorkersFailed
from agebench.pictures import read_bytes
from agebench.pool import THREAD_LIMITS, Worker
from agebench.remote import Folder

BLOCK = 64  # most pictures in a block sent to an actor
BLOCKS_A_WORKER = 4  # smallest block if there are few pictures, so that the last block does not take long
CONNECT_SECONDS = 10
STORE_BYTES = (
    512 * 2**20
)  # object store of a Ray that we start: blocks are small, and the default is a third of the memory
SETTINGS = {  # settings that Ray reads only when it is imported
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # otherwise Ray prints retries to standard output
}
FILE_SCHEMA = pa.schema(
    [
        ("part", pa.string()), ("path", pa.string()), ("bytes", pa.int64()), ("mtime", pa.int64()),
        ("fault", pa.string()), ("sha256", pa.string()), ("todo", pa.list_(pa.string())),
    ]
)  # fmt: skip
FACES = pa.list_(
    pa.struct(
        [
            ("face_no", pa.int32()), ("x", pa.float64()), ("y", pa.float64()), ("w", pa.float64()),
            ("h", pa.float64()), ("landmarks", pa.list_(pa.float32())),
        ]
    )
)  # fmt: skip


def observe_on_ray(
    files: pl.DataFrame,
    folders: Mapping[str, Folder],
    observers: Observers,
    workers: int | None,
    *,
    address: str | None = None,
) -> Generator[pa.Table, None, None]:
    """An engine for `observe`: yields tables of `PART_SCHEMA` with the same rows as `observe_here`'s.

    workers: actors with one core each; None: one per core. address: of a cluster, as for `ray.init`; None starts a
    local Ray and stops it afterwards. If this process has joined a Ray before, that one is used and left running.
    Raises Missing if Ray is not installed, cannot be reached, or its workers lack pictures or weights, and
    WorkersFailed where they cannot do the work.
    """
    address = None if address == "local" else address
    places = {part: folder.absolute() for part, folder in folders.items()}
    samples = [File(*row) for row in files.unique("part", maintain_order=True).iter_rows()]
    with _ray(address, workers) as cores:
        _check_workers(places, observers, samples, f"The Ray workers at {address}" if address else "Ray's workers")
        yield from _observed(files, workers or cores, (places, observers, samples))


def check_ray() -> None:
    """Raises Missing if Ray is not installed."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise Missing(f"Ray is not installed ({error}).", "`pip install 'agebench[ray]'` brings it.") from error


class _RayObserver:
    """An actor: its setup, and its work on a block of files."""

    def __init__(self, folders: dict[str, Folder], observers: Observers, samples: list[File]) -> None:
        lacking = _examine(folders, observers, samples)[1]
        if lacking:
            raise Missing(lacking)
        self.worker = Worker(observe_batch, set_up, (folders, observers))

    def __call__(self, block: pa.Table) -> pa.Table:
        return pa.concat_tables(as_rows(result) for result in self.worker([File(**row) for row in block.to_pylist()]))


def _observed(files: pl.DataFrame, workers: int, looker: tuple[Any, ...]) -> Iterator[pa.Table]:
    from ray.data import ActorPoolStrategy, from_arrow
    from ray.exceptions import RayError

    size = max(1, min(BLOCK, -(-len(files) // (workers * BLOCKS_A_WORKER))))
    schema = FILE_SCHEMA.append(pa.field("faces", FACES)) if "faces" in files.columns else FILE_SCHEMA
    table = files.to_arrow().select(schema.names).cast(schema)
    blocks = [table.slice(start, size) for start in range(0, len(table), size)]
    looked = from_arrow(blocks).map_batches(
        _RayObserver,
        fn_constructor_args=looker,
        batch_size=None,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=min(workers, len(blocks))),
        num_cpus=1,
        runtime_env=_single_threaded(),
    )
    looked.context.enable_progress_bars = False
    looked.context.print_on_execution_start = False
    done: Iterator[Any] = iter(looked.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
    try:
        for found in done:
            yield found.select(PART_SCHEMA.names).cast(PART_SCHEMA)
    except RayError as error:
        raise _as_agebench_error(error) from error
    finally:
        if isinstance(done, Generator):
            done.close()


def _check_workers(folders: dict[str, Folder], observers: Observers, samples: list[File], who: str) -> None:
    """Test one worker first, so that pictures are not blamed for what the worker lacks."""
    import ray
    from ray.exceptions import RayError

    try:
        examine = ray.remote(num_cpus=1, max_retries=0, runtime_env=_single_threaded())(_examine)
        version, lacking = ray.get(examine.remote(folders, observers, samples))
    except RayError as error:
        raise WorkersFailed(
            f"{who} cannot run agebench: {_cause(error)}.",
            f"Install agebench {agebench.__version__} with the same extras in their environment.",
        ) from error
    if version != agebench.__version__:
        raise Missing(
            f"{who} have agebench {version}; this machine has {agebench.__version__}.",
            "Install the same version in both.",
        )
    if lacking:
        raise Missing(
            f"{who} cannot do the work: {lacking}",
            "Pictures and weights must be under the same paths for every worker.",
        )


def _examine(folders: dict[str, Folder], observers: Observers, samples: list[File]) -> tuple[str, str | None]:
    """(version of agebench, what is missing) where this runs. samples: files that exist on the machine of the run."""
    try:
        watch = PictureObserver(folders, observers)
        for file in samples:
            place, _ = watch.locator.find(file.part, file.path)
            if place is None or read_bytes(place)[1]:
                return agebench.__version__, f"{folders[file.part]} has no picture {file.path} there."
    except AgebenchError as error:
        return agebench.__version__, str(error)
    return agebench.__version__, None


@contextmanager
def _ray(address: str | None, workers: int | None) -> Iterator[int]:
    """Join or start Ray; yields its number of cores. A Ray that we started is stopped, a cluster only left."""
    check_ray()
    import ray

    with ExitStack() as undo:
        undo.enter_context(_quiet())
        if not ray.is_initialized():
            own = {} if address else undo.enter_context(_own(workers or os.cpu_count() or 1))
            undo.callback(ray.shutdown)
            try:
                if address:
                    _must_answer(address)
                ray.init(address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **own)
            except (RuntimeError, ValueError, OSError, ImportError) as error:
                where = f"There is no Ray to join at {address}" if address else "Ray cannot be started here"
                raise Missing(
                    f"{where}: {_cause(error)}.",
                    "`--engine local` needs no Ray. RAY_ADDRESS names a cluster; one with tokens needs RAY_AUTH_MODE.",
                ) from error
        yield int(ray.cluster_resources().get("CPU", 1))


def _must_answer(address: str) -> None:
    """Raises OSError if nobody listens at `host:port` or `ray://host:port`: Ray itself would keep trying for
    minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


@contextmanager
def _own(cores: int) -> Iterator[dict[str, Any]]:
    """Settings of a Ray that we start, whose files are removed when it stops."""
    home = Path("/tmp")  # the paths of sockets must be short
    folder = tempfile.mkdtemp(prefix="agebench-ray-", dir=home if home.is_dir() else None)
    try:
        yield {
            "num_cpus": cores, "object_store_memory": STORE_BYTES, "include_dashboard": False, "_temp_dir": folder,
        }  # fmt: skip
    finally:
        for _ in range(10):  # processes of a Ray that is stopping still write
            shutil.rmtree(folder, ignore_errors=True)
            if not Path(folder).exists():
                break
            time.sleep(0.3)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences Ray Data, which logs every actor that it replaces, with a traceback."""
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"ray\.")
            yield
    finally:
        logger.setLevel(level)


def _single_threaded() -> dict[str, Any]:
    return {"env_vars": {**dict.fromkeys(THREAD_LIMITS, "1"), "ORT_DISABLE_TELEMETRY": "1"}}


def _as_agebench_error(error: BaseException) -> AgebenchError:
    """The error that a worker raised on purpose, or else that Ray gave up."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AgebenchError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    return WorkersFailed(
        f"Ray gave up: {_cause(error)}.", "What was observed is kept; the same command continues from there."
    )


def _cause(error: BaseException) -> str:
    """The last line of what Ray says, which names the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = lines[-1] if lines else type(error).__name__
    return re.sub(r"^agebench\.errors\.\w+: ", "", cause).rstrip(".")[:300]
