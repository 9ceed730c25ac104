"""Motion as a closed formula: any moment is known without those before it."""

import math

import numpy as np

Values = np.ndarray | float | tuple[float, ...]


class Swing:
    """Values that swing about a mean, each with a period and a phase of its own."""

    def __init__(
        self,
        rng: np.random.Generator,
        mean: Values,
        amplitude: Values,
        *,
        period: tuple[float | int, float | int],
    ):
        self.mean, self.amplitude = mean, amplitude
        self.frequency = math.tau / rng.uniform(*period, np.shape(mean))
        self.phase = rng.uniform(0, math.tau, np.shape(mean))

    def at(self, t: float | int) -> np.ndarray | np.floating:
        """The values at a moment; periods are in the same unit."""
        return self.mean + self.amplitude * np.sin(self.frequency * t + self.phase)
