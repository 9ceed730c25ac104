"""Running out of device memory says what to lower."""

import jax
import jax.numpy as jnp
import pytest

from stemseg_jax import device_memory
from stemseg_jax.device_memory import OutOfDeviceMemoryError


def test_a_real_one_says_what_was_done_how_large_and_what_to_lower():
    ways = device_memory.to_label(resized=(736, 1248), dtype="float32")
    labelling = device_memory.explained("labelling clip.mp4", *ways)
    with pytest.raises(OutOfDeviceMemoryError) as raised, labelling:
        jnp.zeros(2**44, jnp.uint8).block_until_ready()
    message = str(raised.value)
    assert "memory while labelling clip.mp4 (16384." in message
    assert "--config.model.dtype=bfloat16" in message
    assert "--config.evaluation.max_dim=608" in message
    assert isinstance(raised.value.__cause__, jax.errors.JaxRuntimeError)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Out of memory allocating 3221225472 bytes.", "(3.00GiB more were needed"),
        ("Out of memory while trying to allocate 8.59GiB.", "(8.59GiB more were"),
        ("Something else is used up.", "memory while training. It"),
    ],
)
def test_the_amount_is_read_where_xla_says_it(text, said):
    training = device_memory.explained("training", "less")
    with pytest.raises(OutOfDeviceMemoryError) as raised, training:
        raise jax.errors.JaxRuntimeError(f"RESOURCE_EXHAUSTED: {text}")
    assert said in str(raised.value)


def test_other_errors_of_xla_stay_as_they_are():
    training = device_memory.explained("training", "less")
    with (
        pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL") as raised,
        training,
    ):
        raise jax.errors.JaxRuntimeError("INTERNAL: no")
    assert not isinstance(raised.value, OutOfDeviceMemoryError)


def test_ways_that_are_taken_are_not_named_again():
    ways = device_memory.to_train(clips_per_device=4, remat=False, dtype="float32")
    assert ways[:3] == (
        "--config.optim.clips_per_device=2",
        "--config.model.remat=True",
        "--config.model.dtype=bfloat16",
    )
    (last,) = device_memory.to_train(clips_per_device=1, remat=True, dtype="bfloat16")
    assert "max_dim" in last
    small = device_memory.to_label(resized=(30, 40), dtype="bfloat16")
    assert small == ("--config.evaluation.max_dim=32",)
