"""Ways to make a trained backbone one's own: which of its stages learn, when, and how fast.

J. Yosinski, J. Clune, Y. Bengio, H. Lipson, "How Transferable Are Features in Deep Neural Networks?", 2014, for the two
plain ways; J. Howard, S. Ruder, "Universal Language Model Fine-tuning for Text Classification", 2018, for rates by
depth and thawing from the top. Each way is a pure function of the epoch, so that a continued run goes on as it would
have. It works on a `BackboneNet`, such as those of dlzoo/nets/backbone.py.
"""

from __future__ import annotations

from typing import Any

from dlzoo.errors import UserError
from dlzoo.nets.base import Net


class Transfer:
    """How a net with a backbone learns. Subclasses say how many of its stages are frozen, and the rates.

    Raises:
        UserError: on `check`, for a net without a backbone, or one whose backbone would stay as it was drawn.
    """

    changes: bool = False
    """Whether stages thaw while the run goes on."""

    freezes_body: bool = False
    """Whether only the head ever learns."""

    def check(self, net: Net) -> None:
        name, backbone = type(self).__name__.lower(), net.as_backbone()
        if backbone is None:
            raise UserError(
                f"transfer={name} is for nets with a backbone (model=resnet18, vgg16, timm …); "
                f"{type(net).__name__} has none: take transfer=scratch"
            )
        if backbone.weights == "none":
            raise UserError(
                f"transfer={name} needs a trained backbone: give net.weights=imagenet or a file, or transfer=scratch"
            )

    def apply(self, net: Any, done: float) -> None:
        """Freeze and thaw, when the share ``done`` of the run's epochs is over."""
        net.freeze(self.num_frozen(len(net.stages), done))

    def num_frozen(self, num_stages: int, done: float) -> int:
        """How many of the lowest stages are frozen when the share ``done`` of the run's epochs is over."""
        raise NotImplementedError

    def rates(self, num_stages: int) -> list[float]:
        """A factor on the optimizer's rate for each stage, the lowest first; the head has 1."""
        return [1.0] * num_stages

    def groups(self, net: Any) -> list[dict[str, Any]]:
        """Parameters for an optimizer, the head's first, then the stages that ever learn, from the top.

        ``factor`` is for `Task.configure_optimizers`: the optimizer's rate is multiplied by it.
        """
        in_stages = {p for stage in net.stages for module in stage for p in module.parameters()}
        groups = [{"params": [p for p in net.parameters() if p not in in_stages], "name": "head", "factor": 1.0}]
        rates, frozen = self.rates(len(net.stages)), self.num_frozen(len(net.stages), 1.0)
        for i in reversed(range(frozen, len(net.stages))):
            params = [p for module in net.stages[i] for p in module.parameters()]
            groups.append({"params": params, "name": f"stage{i}", "factor": rates[i]})
        return groups


class Scratch(Transfer):
    """No transfer: fresh weights, all of which learn at one rate. For any net."""

    def check(self, net: Net) -> None:
        backbone = net.as_backbone()
        if backbone is not None and backbone.weights != "none":
            raise UserError(
                f"transfer=scratch starts from fresh weights, but net.weights={backbone.weights}; leave one out"
            )

    def apply(self, net: Any, done: float) -> None:
        pass

    def groups(self, net: Any) -> list[dict[str, Any]]:
        return [{"params": list(net.parameters())}]


class Features(Transfer):
    """The backbone stays as it is, running statistics included, and gives features; only the head learns."""

    freezes_body = True

    def num_frozen(self, num_stages: int, done: float) -> int:
        return num_stages


class Finetune(Transfer):
    """All of it learns, the backbone more slowly than the head, the slower the closer to the input.

    Args:
        top: factor on the rate of the backbone's highest stage.
        bottom: of its lowest stage; those between follow a geometric row.
    """

    def __init__(self, *, top: float = 0.3, bottom: float = 0.03) -> None:
        for key, value in (("top", top), ("bottom", bottom)):
            if not value > 0:
                raise UserError(f"task.transfer.{key}={value} must be above 0: it is a factor on the optimizer's rate")
        self.top = top
        self.bottom = bottom

    def num_frozen(self, num_stages: int, done: float) -> int:
        return 0

    def rates(self, num_stages: int) -> list[float]:
        steps = max(num_stages - 1, 1)
        return [self.bottom * (self.top / self.bottom) ** (i / steps) for i in range(num_stages)]


class Gradual(Finetune):
    """As `Finetune`, but first the head learns alone, then stage after stage joins it from the top.

    Args:
        start: share of the run's epochs after which the highest stage thaws.
        end: share after which all have.
    """

    changes = True

    def __init__(self, *, start: float = 0.2, end: float = 0.6, top: float = 0.3, bottom: float = 0.03) -> None:
        super().__init__(top=top, bottom=bottom)
        if not 0 <= start <= end <= 1:
            raise UserError(
                f"task.transfer.start={start} and end={end} must be shares of the run: 0 <= start <= end <= 1"
            )
        self.start = start
        self.end = end

    def num_frozen(self, num_stages: int, done: float) -> int:
        if done < self.start:
            return num_stages
        if done >= self.end:
            return 0
        share = (done - self.start) / (self.end - self.start)
        return num_stages - 1 - int(share * (num_stages - 1))
