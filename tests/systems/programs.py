"""Which programs are compiled meanwhile."""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def compiled() -> Iterator[list[str]]:
    """Their names, as they come."""
    names = []

    def listen(event, seconds, fun_name="", **_):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(fun_name.removeprefix("jit(").removesuffix(")"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
