"""The trained net that another one learns from (Hinton et al. 2015, arXiv:1503.02531)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from classifiers.expression import LABELS
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.evaluation.measure import batches
from classifiers.expression.training.recipe import Distillation
from classifiers.expression.tta import with_temperature


class Teacher:
    """Softens targets by what trained weights, one net or a joint, make of the same faces.

    images: uint8 [N, 48, 48], the faces to train on. With `views = "ten_crop"` all of them are
    read once, by `read`, and `said`, [M, 7], are the probabilities of the first M until now, which
    the run's state keeps; with `same`, each augmented batch is read as it comes. `log` is that
    of `engines.start`.
    """

    def __init__(
        self,
        plan: Distillation,
        images: torch.Tensor,
        device: str,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._plan = plan
        self._images = images
        self._classifier = ExpressionClassifier.load(
            plan.teacher,
            device="cuda" if device == "cuda" else "cpu",
            tta="ten_crop",
            # An augmented batch is read by torch, in the numbers of the step that it is for.
            engine="auto" if plan.views == "ten_crop" else "torch",
            log=log,
        )
        self.said = torch.empty(0, len(LABELS), device=device)

    @property
    def sha256(self) -> str:
        """Of the weights, or of the joint, that teach."""
        return self._classifier.record.sha256

    def read(
        self,
        stop: Callable[[], bool] = lambda: False,
        report: Callable[[float], None] = lambda share: None,
    ) -> None:
        """Read the faces that are to be read and are not yet, until `stop` says so.

        `report` gets the share that is read, 0..1. A reading that was stopped goes on in the same
        batches, since an engine's rounding may depend on what else is in one.
        """
        if self._plan.views != "ten_crop":
            return
        said, begin = [self.said], 0
        for part in batches(self._images.cpu().numpy()):
            end = begin + len(part)
            if begin >= len(self.said):
                if stop():
                    break
                said.append(torch.from_numpy(self._classifier.predict(part)).to(self.said.device))
                report(end / len(self._images))
            begin = end
        self.said = torch.cat(said)

    def of_faces(self, targets: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """Targets [N, 7] of the training faces `chosen`, int64 [N], before any mixing."""
        if self._plan.views != "ten_crop":
            return targets
        assert len(self.said) == len(self._images), "read first"
        return self._blend(targets, self.said[chosen])

    def of_views(self, targets: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Targets [N, 7] of what the net is shown, float32 [N, 1, S, S], mixed or not."""
        if self._plan.views != "same":
            return targets
        return self._blend(targets, self._classifier.predict_standardised(x))

    def _blend(self, targets: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        return torch.lerp(targets, with_temperature(said, self._plan.temperature), self._plan.share)
