"""Work that is recorded once for each size of a batch and then only replayed, as a CUDA graph is.

A recording always reads and writes the same memory. So inputs are copied to where it reads, a batch that
is smaller than what is recorded leaves the rest of that place as it was, and only the rows that count are returned.
Nothing here is of CUDA: what records is given.

A group is a tensor, None, or a tuple (named or not) of groups.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, Protocol

from torch import Tensor

Group = Any


class Recorded(NamedTuple):
    """`replay` computes `outputs` anew, in place, from what stands in the inputs."""

    replay: Callable[[], None]
    outputs: Group


class Recorder(Protocol):
    """Makes recordings."""

    def record(self, run: Callable[[], Group]) -> Recorded:
        """Record what `run` does. It leaves nothing behind when it raises."""
        ...

    def settle(self) -> None:
        """Wait until no replay is under way, so that a recording may be dropped."""
        ...


class _Entry(NamedTuple):
    batched: Group
    recorded: Recorded


class _Shared:
    """A group that all rows of all batches share, at the place where recordings read it."""

    def __init__(self, group: Group) -> None:
        self.place = mapped(group, lambda tensor: tensor.clone())
        self._holds = group

    def hold(self, group: Group) -> None:
        """Copy the group to its place, unless it is what stands there."""
        if self._holds is not group:
            self._holds = None  # half a copy is neither
            copy_group(group, self.place)
            self._holds = group


class FixedBatches:
    """Runs `function(shared, batched)`, whose outputs have a row for each row of `batched`.

    (Of a function that is always given one row the outputs may be anything.) At most `kept` recordings are kept; the
    one used longest ago makes room.
    """

    def __init__(self, function: Callable[[Group, Group], Group], recorder: Recorder, *, kept: int = 6) -> None:
        self._function, self._recorder, self._kept = function, recorder, kept
        self._shared: dict[Hashable, _Shared] = {}
        self._entries: OrderedDict[tuple[Hashable, Hashable, int], _Entry] = OrderedDict()

    @property
    def sizes(self) -> list[int]:
        """The sizes that are recorded, the one used longest ago first."""
        return [size for _, _, size in self._entries]

    def __call__(self, shared: Group, batched: Group) -> Group:
        """Return the outputs. They are written over by the next call: whoever wants to keep them copies them."""
        count = tensors_of(batched)[0].shape[0]
        kinds = _kind(shared, 0), _kind(batched, 1)
        # Any recording that is large enough will do: to make one takes longer than to run the largest.
        size = min((own for *others, own in self._entries if tuple(others) == kinds and own >= count), default=count)
        key = (*kinds, size)
        if key not in self._entries:
            self._make_room()
        place = self._hold(kinds[0], shared)
        if key not in self._entries:
            self._entries[key] = self._record(place, batched)
        self._entries.move_to_end(key)
        entry = self._entries[key]
        copy_group(batched, mapped(entry.batched, lambda tensor: tensor[:count]))
        entry.recorded.replay()
        if count == size:
            return entry.recorded.outputs
        return mapped(entry.recorded.outputs, lambda tensor: tensor[:count])

    def _hold(self, kind: Hashable, shared: Group) -> Group:
        if kind not in self._shared:
            self._shared[kind] = _Shared(shared)
        self._shared[kind].hold(shared)
        return self._shared[kind].place

    def _record(self, place: Group, batched: Group) -> _Entry:
        own = mapped(batched, lambda tensor: tensor.clone())
        return _Entry(own, self._recorder.record(lambda: self._function(place, own)))

    def _make_room(self) -> None:
        if len(self._entries) >= self._kept:
            self._recorder.settle()
        while len(self._entries) >= self._kept:
            self._entries.popitem(last=False)
        in_use = {kind for kind, _, _ in self._entries}
        self._shared = {kind: shared for kind, shared in self._shared.items() if kind in in_use}


def mapped(group: Group, change: Callable[[Tensor], Any]) -> Group:
    """Return a group of the same kind, each tensor changed."""
    if group is None or isinstance(group, Tensor):
        return None if group is None else change(group)
    members = [mapped(member, change) for member in group]
    return type(group)(*members) if hasattr(group, "_fields") else tuple(members)


def tensors_of(group: Group) -> list[Tensor]:
    """Return the tensors of a group, in order."""
    if group is None or isinstance(group, Tensor):
        return [] if group is None else [group]
    return [tensor for member in group for tensor in tensors_of(member)]


def copy_group(source: Group, target: Group) -> None:
    """Copy each tensor of a group into its like, which may lie on another device."""
    for own, place in zip(tensors_of(source), tensors_of(target), strict=True):
        place.copy_(own)


def _kind(group: Group, from_axis: int) -> Hashable:
    """Return what a recording depends on: shapes (without the axes before `from_axis`) and types."""
    if group is None or isinstance(group, Tensor):
        return None if group is None else (tuple(group.shape[from_axis:]), group.dtype)
    return tuple(_kind(member, from_axis) for member in group)
