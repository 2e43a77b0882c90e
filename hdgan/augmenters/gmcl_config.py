"""Settings of generative meta curriculum learning."""

from __future__ import annotations

from dataclasses import dataclass

from hdgan.augmenters.conditional_config import MOST_BETA
from hdgan.checks import check_bool, check_choice, check_number
from tiling.errors import InputError

MOST_MOMENTUM = 0.99


@dataclass(frozen=True)
class GMCLConfig:
    """Settings of :class:`hdgan.augmenters.gmcl.GMCL`.

    Attributes
    ----------
    steps, batch
        Outer steps N, each of which trains the student anew or further; real images in one.
    inner_steps, inner_batch
        Steps M of the student on the curriculum, and images in one.
    latent
        Dimensions of z.
    z
        "learned" by the outer steps, "fixed" as first drawn, or "random": new ones for every outer step.
    adaptive
        Whether the rate and the momentum of each inner step are learned, too.
    reset_student
        Whether a fresh student begins in every outer step, as in generative teaching networks (Such et al. 2020); or
        else the one before goes on, after a step on the real batch.
    carry_momentum
        Whether the student's momentum goes on with it; or else is zero at the beginning of every outer step. A student
        that is reset has none.
    rate, momentum
        Of the inner steps, at first.
    outer_rate, outer_beta1, outer_beta2, outer_epsilon
        Of the Adam that trains the teacher, z, rates and momenta.
    mode
        How the meta-gradient is computed: "sqrt" keeps the square root of M states, "reverse" all, "truncated" goes
        back through the last `through` steps only, "plain" by PyTorch's graph of all steps, in one process.
    through
        For "truncated": inner steps, all at most.
    student_width
        Channels of the student's first layer.
    balanced
        Whether real batches show each class as often as any other, as the curriculum does; or else as often as it has
        images.
    parts
        In how many parts a batch goes through the networks (:class:`training.share.Share`); None: one for each process.
    """

    steps: int = 2000
    batch: int = 128
    inner_steps: int = 32
    inner_batch: int = 64
    latent: int = 128
    z: str = "learned"
    adaptive: bool = True
    reset_student: bool = False
    carry_momentum: bool = False
    rate: float = 0.02
    momentum: float = 0.5
    outer_rate: float = 0.02
    outer_beta1: float = 0.9
    outer_beta2: float = 0.9
    outer_epsilon: float = 1e-5
    mode: str = "sqrt"
    through: int = 8
    student_width: int = 64
    balanced: bool = False
    parts: int | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "inner_steps", "inner_batch", "latent", "through", "student_width"):
            check_number(name, getattr(self, name), 1, 2**31)
        for name in ("rate", "outer_rate", "outer_epsilon"):
            check_number(name, getattr(self, name), 1e-12, 1, whole=False)
        for name in ("outer_beta1", "outer_beta2"):
            check_number(name, getattr(self, name), 0, MOST_BETA, whole=False)
        check_number("momentum", self.momentum, 1e-6, MOST_MOMENTUM, whole=False)
        check_choice("z", self.z, ("learned", "fixed", "random"))
        check_choice("mode", self.mode, ("sqrt", "reverse", "truncated", "plain"))
        for name in ("adaptive", "reset_student", "carry_momentum", "balanced"):
            check_bool(name, getattr(self, name))
        if self.parts is not None:
            check_number("parts", self.parts, 1, 2**31)
        if self.mode == "truncated":
            check_number("through", self.through, 1, self.inner_steps)
        if self.reset_student and self.carry_momentum:
            raise InputError("a student that is reset has no momentum to carry: leave reset_student or it out")
