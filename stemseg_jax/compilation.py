"""What XLA compiles: kept on disk for the next start, and told while it happens."""

import contextlib
import hashlib
import pathlib
import platform
import threading
from collections.abc import Callable, Iterator

import jax

from stemseg_jax import caches

LEAST_SECONDS = 0.2  # programs that compile faster are not kept
MOST_BYTES = 2 * 2**30
# Events of JAX; the first one comes for programs from disk, too.
COMPILED = "/jax/core/compile/backend_compile_duration"
FROM_DISK = "/jax/compilation_cache/cache_hits"


def keep(folder: str | pathlib.Path | None = None) -> pathlib.Path | None:
    """Keeps compiled programs, so that the next start need not compile them again.

    What is compiled before this call is not kept. Who has told JAX where to keep them,
    by JAX_COMPILATION_CACHE_DIR, is left alone. Programs of one version of JAX and one
    kind of processor have a subfolder of their own, and run nowhere else. Those that
    were used longest ago go when all together have more than `MOST_BYTES`.

    Args:
        folder: Otherwise STEMSEG_CACHE, otherwise XDG_CACHE_HOME/stemseg_jax; "off"
            keeps nothing.

    Returns:
        Where they are kept; None if they are not, with a warning if it is because the
        folder cannot be written.
    """
    if told := jax.config.jax_compilation_cache_dir:
        return pathlib.Path(told)
    place = caches.folder(_machine(), "Compiled programs", base=folder)
    if place is None:
        return None
    caches.shrink(place.parent.glob("jax-*/*-cache"), MOST_BYTES)
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
    return place


def _machine() -> str:
    """The version of JAX and what the processor can do.

    JAX itself tells devices and versions of their drivers apart. To ask it which there
    are would start them, too early for a run on several hosts.
    """
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        named = ("flags", "Features", "model name")
        processor = "".join(sorted({line for line in lines if line.startswith(named)}))
    except OSError:  # not Linux
        processor = platform.processor()
    digest = hashlib.sha256(processor.encode()).hexdigest()
    return f"jax-{jax.__version__}-{platform.machine()}-{digest[:12]}"


class Compiled:
    """What was compiled during a `watch`.

    Attributes:
        programs: (name, seconds) of each; the name is empty if JAX does not say it.
        from_disk: How many of them were taken from what `keep` keeps.
    """

    def __init__(self):
        self.programs: list[tuple[str, float]] = []
        self.from_disk = 0

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds in self.programs)

    def __str__(self) -> str:
        """E.g. "6 programs in 21.3 s (_decode 9.8 s, _encode 7.1 s), 2 from disk"."""
        if not self.programs:
            return "nothing"
        largest = sorted(self.programs, key=lambda program: -program[1])[:2]
        named = ", ".join(f"{name or 'one'} {time:.1f} s" for name, time in largest)
        count = len(self.programs)
        text = f"{count} program{'s'[: count > 1]} in {self.seconds:.1f} s ({named})"
        return f"{text}, {self.from_disk} from disk" if self.from_disk else text


@contextlib.contextmanager
def watch(
    each: Callable[[str, float], None] = lambda name, seconds: None,
) -> Iterator[Compiled]:
    """Tells what is compiled meanwhile, in any thread of this process.

    Args:
        each: Is called with the name and the seconds of each program, one at a time,
            in the thread that compiled it.
    """
    found, lock = Compiled(), threading.Lock()

    def on_event(event: str, **_) -> None:
        if event == FROM_DISK:
            with lock:
                found.from_disk += 1

    def on_duration(event: str, seconds: float, fun_name: str = "", **_) -> None:
        if event == COMPILED:
            name = fun_name.removeprefix("jit(").removesuffix(")")
            with lock:
                found.programs.append((name, seconds))
                each(name, seconds)

    jax.monitoring.register_event_listener(on_event)
    jax.monitoring.register_event_duration_secs_listener(on_duration)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_listener(on_event)
        jax.monitoring.unregister_event_duration_listener(on_duration)
