"""Transfer learning: which stages of a pretrained backbone are trained, when, and at which learning rate.

J. Yosinski, J. Clune, Y. Bengio, H. Lipson, "How Transferable Are Features in Deep Neural Networks?", 2014, for the two
basic modes; J. Howard, S. Ruder, "Universal Language Model Fine-tuning for Text Classification", 2018, for
discriminative rates and gradual unfreezing. Each is a pure function of the epoch, so that runs can be resumed
exactly. They work on a `BackboneNet`, such as those of dlzoo/nets/backbone.py.
"""

from __future__ import annotations

from torch.optim.optimizer import ParamsT

from dlzoo.errors import UserError
from dlzoo.nets.base import BackboneNet, Net


class Transfer:
    """How a net with a backbone is trained. Subclasses define how many stages are frozen, and the rates.

    Raises:
        UserError: on `check`, for a net without a backbone, or with a randomly initialised one.
    """

    changes: bool = False
    """Whether stages are unfrozen during the run."""

    freezes_body: bool = False
    """Whether only the head is ever trained."""

    def check(self, net: Net) -> None:
        name, backbone = type(self).__name__.lower(), net.as_backbone()
        if backbone is None:
            raise UserError(
                f"transfer={name} is for nets with a backbone (model=resnet18, vgg16, timm …); "
                f"{type(net).__name__} has none: use transfer=scratch"
            )
        if backbone.weights == "none":
            raise UserError(
                f"transfer={name} needs a trained backbone: give net.weights=imagenet or a file, or transfer=scratch"
            )

    def apply(self, net: Net, done: float) -> None:
        """Freeze and unfreeze stages after the fraction ``done`` of the run's epochs."""
        backbone = _backbone(net)
        backbone.freeze(self.num_frozen(len(backbone.stages), done))

    def num_frozen(self, num_stages: int, done: float) -> int:
        """How many of the lowest stages are frozen after the fraction ``done`` of the run's epochs."""
        raise NotImplementedError

    def rates(self, num_stages: int) -> list[float]:
        """A factor on the learning rate for each stage, lowest first; the head has 1."""
        return [1.0] * num_stages

    def groups(self, net: Net) -> ParamsT:
        """Parameter groups for an optimizer: the head, then the stages that are ever trained, from the top.

        ``factor`` scales the learning rate in `Task.configure_optimizers`.
        """
        stages = _backbone(net).stages
        in_stages = {p for stage in stages for module in stage for p in module.parameters()}
        groups = [{"params": [p for p in net.parameters() if p not in in_stages], "name": "head", "factor": 1.0}]
        rates, frozen = self.rates(len(stages)), self.num_frozen(len(stages), 1.0)
        for i in reversed(range(frozen, len(stages))):
            params = [p for module in stages[i] for p in module.parameters()]
            groups.append({"params": params, "name": f"stage{i}", "factor": rates[i]})
        return groups


class Scratch(Transfer):
    """No transfer: random initialisation and one learning rate for all weights. For any net."""

    def check(self, net: Net) -> None:
        backbone = net.as_backbone()
        if backbone is not None and backbone.weights != "none":
            raise UserError(
                f"transfer=scratch trains from random weights, but net.weights={backbone.weights}; omit one of them"
            )

    def apply(self, net: Net, done: float) -> None:
        pass

    def groups(self, net: Net) -> ParamsT:
        return [{"params": list(net.parameters())}]


class Features(Transfer):
    """Feature extraction: the backbone is frozen, including running statistics; only the head is trained."""

    freezes_body = True

    def num_frozen(self, num_stages: int, done: float) -> int:
        return num_stages


class Finetune(Transfer):
    """Fine-tune everything, with learning rates that decrease from the head towards the input.

    Args:
        top: factor on the learning rate of the backbone's highest stage.
        bottom: the same for its lowest stage; those between are spaced geometrically.
    """

    def __init__(self, *, top: float = 0.3, bottom: float = 0.03) -> None:
        for key, value in (("top", top), ("bottom", bottom)):
            if not value > 0:
                raise UserError(f"task.transfer.{key}={value} must be above 0: it is a factor on the learning rate")
        self.top = top
        self.bottom = bottom

    def num_frozen(self, num_stages: int, done: float) -> int:
        return 0

    def rates(self, num_stages: int) -> list[float]:
        steps = max(num_stages - 1, 1)
        return [self.bottom * (self.top / self.bottom) ** (i / steps) for i in range(num_stages)]


class Gradual(Finetune):
    """As `Finetune`, but the head is trained alone first, then stages are unfrozen one by one from the top.

    Args:
        start: fraction of the run's epochs after which the highest stage is unfrozen.
        end: fraction after which all are unfrozen.
    """

    changes = True

    def __init__(self, *, start: float = 0.2, end: float = 0.6, top: float = 0.3, bottom: float = 0.03) -> None:
        super().__init__(top=top, bottom=bottom)
        if not 0 <= start <= end <= 1:
            raise UserError(
                f"task.transfer.start={start} and end={end} must be fractions of the run: 0 <= start <= end <= 1"
            )
        self.start = start
        self.end = end

    def num_frozen(self, num_stages: int, done: float) -> int:
        if done < self.start:
            return num_stages
        if done >= self.end:
            return 0
        progress = (done - self.start) / (self.end - self.start)
        return num_stages - 1 - int(progress * (num_stages - 1))


def _backbone(net: Net) -> BackboneNet:
    """The net, after `Transfer.check`."""
    backbone = net.as_backbone()
    assert backbone is not None
    return backbone
