"""Keep the processes of a group in the same state during training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from varied.errors import VariedError
from varied.process_group import STOP, Group
from varied.training_state import TrainingState

#: What the process of rank 0 announces before each step: that only the step follows, or that its
#: state, or its state and weights, have been changed since the last step and are sent first.
_STEP, _STATE, _WEIGHTS = 1, 2, 3


class Synchronizer:
    """Keeps the processes of a group in the same state during training.

    The process of rank 0 decides, and the others follow. In a group of one, nothing is done.

    Arguments:
        group: The processes.
        step: The training step.
        state: The state, which is updated in place.
    """

    def __init__(self, group: Group, step: nn.Module, state: TrainingState) -> None:
        self.group, self.step, self.state = group, step, state
        self.decisions: tuple[float, ...] = ()
        self.has_checked_buffers = False

    def share_state(self) -> None:
        """Copy the state from the process of rank 0.

        Raises:
            SystemExit: If the process of rank 0 has ended.
        """
        if self.group.world > 1:
            moments = self.state.moments.items()
            shapes = {name: [list(x.shape), str(x.dtype)[6:]] for name, x in moments}
            values, shapes = self.group.announce([self.state.to_values(), shapes])
            if self.group.rank:
                vars(self.state).update(vars(TrainingState.from_values(values)))
                self.state.moments = {
                    name: torch.zeros(shape, dtype=getattr(torch, dtype))
                    for name, (shape, dtype) in shapes.items()
                }
        self.decisions = self._decisions()

    def share_tensors(self, optimizer: torch.optim.Optimizer) -> None:
        """Copy the weights, the buffers and the optimizer state of the process of rank 0."""
        if self.group.world == 1:
            return
        moments = (optimizer.state[parameter] for parameter in self.step.parameters())
        tensors = [value for values in moments for _, value in sorted(values.items())]
        with torch.no_grad():
            for tensor in [*self.step.state_dict().values(), *tensors]:
                tensor.copy_(self.group.broadcast(tensor))

    def _decisions(self) -> tuple[float, ...]:
        """Return the state values that the step alone does not determine in every process."""
        state = self.state
        return (*state.anchor, state.total, state.limit, state.cooldown_start)

    def begin_step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Return whether there is another step, after copying what has been changed."""
        if self.group.world == 1:
            return self.state.progress < 1.0
        number, decisions = _STEP, self._decisions()
        if decisions != self.decisions:
            has_restored_weights = decisions[-1] != self.decisions[-1]
            number = _WEIGHTS if has_restored_weights else _STATE
        number = self.group.agree(number if self.state.progress < 1.0 else STOP)
        if number in (_STATE, _WEIGHTS):
            self.share_state()
        if number == _WEIGHTS:
            self.share_tensors(optimizer)
        return number != STOP

    def average_gradients(
        self, loss: Tensor, terms: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Average the gradients in place.

        Arguments:
            loss: The loss of the rows of this process.
            terms: Its terms by name.

        Returns:
            The loss and the terms of the whole batch.
        """
        if self.group.world == 1:
            return loss, terms
        params = list(self.step.parameters())
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in params]
        # A parameter can have a gradient in one process only, for example if it belongs to a class.
        has_gradient = loss.new_tensor([p.grad is not None for p in params])
        flat = [torch.stack([loss, *terms.values()]), has_gradient, *map(torch.flatten, gradients)]
        mean = self.group.mean(torch.cat(flat)).split([len(part) for part in flat])
        for parameter, used, value in zip(params, mean[1], mean[2:], strict=True):
            if used:
                gradient = torch.empty_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = gradient.copy_(value.view_as(parameter))
        loss, *values = mean[0]
        return loss, dict(zip(terms, values, strict=True))

    def check_buffers(self) -> None:
        """Check once that all processes have computed the same buffers.

        Raises:
            VariedError: In the process of rank 0, if a module updates a buffer with the rows of one
                process only.
        """
        if self.group.world == 1 or self.has_checked_buffers:
            return
        self.has_checked_buffers = True
        for name, buffer in self.step.named_buffers():
            expected = self.group.broadcast(buffer)
            is_equal = torch.allclose(buffer, expected, rtol=0, atol=0, equal_nan=True)
            number = self.group.sum(torch.tensor(float(not is_equal)))
            if number and self.group.rank == 0:
                raise VariedError(
                    f"The buffer {name} differs between the processes, since its update uses only "
                    "the rows of one process; average its new value with "
                    "varied.process_group.current_group().mean(...)."
                )
