"""Where inputs and target are in a batch or sample: at positions of a tuple, or under names of a dict."""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al.checks import Findings, check_that
from lightning_al.inference.calling import Forward
from lightning_al.tasks.told import beside, count_of, like
from lightning_al.words import cut, did_you_mean, shown

Entries = int | str | list[int] | list[str]
"""Where something is in a batch: a position, or a name in a dict; several for what goes to the model side by side."""


RENAMED_TO = "labels"
RENAMED = ("label", "label_ids")
"""What a target is called in samples, where Hugging Face's collators call it the other in batches."""


class NoSuchOutput(TypeError):
    """The model does not give the output that a task looks at."""


class BatchEntries:
    """Finds inputs and target in tuples by position, in dicts by name: what most tasks are made of.

    Args:
        inputs: The entry that the model is called with: a position, or a name in a dict. Of a list of names the entries
            are keyword arguments of the model, of a list of positions positional ones.
        target: The entry with the target. ``"labels"`` of batches may be ``"label"`` in samples, as Hugging Face's
            collators have it.
        output: Which of a model's outputs is meant, where it gives several: a name in a dict or of an attribute, or a
            position. Default: the only one, or the entry ``"logits"`` of a dict.
        forward: ``forward(model, inputs) -> outputs``, where outputs do not come from ``model(inputs)``: of a GAN's
            module with ``forward`` for its generator, ``lambda gan, images: gan.discriminator(images)``.

    Raises:
        TypeError: If an entry is neither a position nor a name, or ``forward`` is no function.
        ValueError: If ``inputs`` is an empty list.
    """

    def __init__(
        self,
        *,
        inputs: Entries = 0,
        target: int | str = 1,
        output: int | str | None = None,
        forward: Forward | None = None,
    ) -> None:
        several: list[Any] | None = list(inputs) if isinstance(inputs, (list, tuple)) else None
        with Findings() as findings:
            findings.of(_check_entries, inputs, target)
            is_right = forward is None or callable(forward)
            is_entry = output is None or type(output) in (int, str)
            findings.of(check_that, is_entry, "output", output, "the name or position of one of the model's outputs")
            findings.of(check_that, is_right, "forward", forward, "a function of the model and its inputs, or None")
        self._entries: Entries = inputs if several is None else several
        self._target = target
        self._output = output
        self._forward = forward

    @property
    def entries(self) -> Entries:
        """Where inputs are: the position or name that was given, or a list of several."""
        return self._entries

    def _entry(self, batch: Any, entry: Any) -> Any:
        entry = self._name_in(batch, entry)
        try:
            present = entry in batch.keys() if isinstance(entry, str) else -len(batch) <= entry < len(batch)  # noqa: SIM118
        except (AttributeError, TypeError):
            present = False
        if not present or (isinstance(entry, int) and not isinstance(batch, (tuple, list))):
            raise TypeError(self._unknown(batch, entry))
        return batch[entry]

    def _name_in(self, batch: Any, entry: Any) -> Any:
        """Return the target's name in samples that have "label" where their collator makes "labels" of it."""
        if entry == self._target == RENAMED_TO and hasattr(batch, "keys") and entry not in list(batch.keys()):
            return next((name for name in RENAMED if name in list(batch.keys())), entry)
        return entry

    def _unknown(self, batch: Any, entry: Any) -> str:
        name = type(self).__name__
        what, names = type(batch).__name__, ""
        if hasattr(batch, "keys"):
            meant = did_you_mean(entry, batch.keys())
            what, names = f"{what} of {cut(', '.join(map(shown, batch.keys())))}{meant}", "names"
            if entry in RENAMED and RENAMED_TO in list(batch.keys()):
                inputs = "..." if isinstance(self._entries, int) else repr(self._entries)
                return (
                    f"`{name}` looks for entry {entry!r} in batches, got a {what}: the collator renames {entry!r} to "
                    f"{RENAMED_TO!r}. Say so: `task={name}(inputs={cut(inputs, 200)}, target={RENAMED_TO!r})`, which "
                    f"finds {entry!r} in single samples too."
                )
        elif isinstance(batch, (tuple, list)):
            what, names = f"{what} of {len(batch)}", "positions"
        told = " If the dataset has no labels, have them told: `oracle=AwaitTell()`." if entry == self._target else ""
        made = self._made_by_collator(batch, entry)
        if made:
            return f"`{name}` looks for entry {entry!r} in batches and samples, got a {what}.{made}{told}"
        # In the sentence that says what is wrong: of several findings alike, only the first has the sentences after it.
        inputs = "..." if self._entries == 0 else cut(repr(self._entries), 200)
        say = f": say the {names} of its entries, `task={name}(inputs={inputs}, target=...)`. Or g" if names else ". G"
        return (
            f"`{name}` looks for entry {entry!r} in batches and samples, got a {what}{say}ive a `task=` of your own, "
            f"whose `inputs`, `targets` and `with_label` know them.{told}"
        )

    def _made_by_collator(self, batch: Any, entry: Any) -> str:
        """Return what to do about an entry that is missing alone, or "" where others are too, or it is the only one.

        Where the names of the others are right, a collate function may make the one in batches, of samples without it.
        """
        named = [*(self._entries if isinstance(self._entries, list) else [self._entries]), self._target]
        if hasattr(batch, "keys"):
            lacks = [each for each in named if self._name_in(batch, each) not in list(batch.keys())]
            if lacks == [entry] and entry != self._target and len(named) > 2:
                return (
                    f" If a `collate_fn` makes {entry!r} in batches, put it into each sample of the dataset too, as "
                    f"`sample[{entry!r}] = ...` in its `__getitem__`; else say the names of the model's inputs, "
                    f"`task={type(self).__name__}(inputs=..., target={self._target!r})`."
                )
        elif isinstance(batch, (tuple, list)) and len(named) > 2 and len(batch) == len(named) - 1:
            return (
                f" If a `collate_fn` puts one more entry into batches, put it into each sample of the dataset too, in "
                f"its place: samples have the {len(named)} entries of a batch, {cut(repr(named), 100)}. Or make both "
                f"dicts, and give names, `task={type(self).__name__}(inputs=[...], target=...)`."
            )
        return ""

    def inputs(self, batch: Any) -> Any:
        """Return the entry that is the input; of several a dict or tuple of them."""
        if isinstance(batch, Tensor) and self._entries == 0:  # a pool without targets
            return batch
        if not isinstance(self._entries, list):
            return self._entry(batch, self._entries)
        values = [self._entry(batch, entry) for entry in self._entries]
        return dict(zip(self._entries, values, strict=True)) if isinstance(self._target, str) else tuple(values)

    def inputs_there(self, sample: Any) -> Any:
        """Return :meth:`inputs` of a single sample, without the entries that a collate function makes, as lengths."""
        try:
            return self.inputs(sample)
        except TypeError:
            if not isinstance(self._entries, list) or not hasattr(sample, "keys"):
                raise
            return {name: sample[name] for name in self._entries if name in list(sample.keys())}

    def targets(self, batch: Any) -> Any:
        """Return the entry that is the target."""
        return self._entry(batch, self._target)

    def outputs_of(self, model: nn.Module, inputs: Any) -> Any:
        """Return what the model, or ``forward``, makes of what :meth:`inputs` gave; of several outputs the one meant.

        Raises:
            TypeError: If there is no such output.
        """
        if self._forward is not None:
            outputs = self._forward(model, inputs)
        elif not isinstance(self._entries, list):
            outputs = model(inputs)
        else:
            outputs = model(**inputs) if isinstance(inputs, dict) else model(*inputs)
        if self._output is not None:
            return self._one_of(outputs, self._output)
        if isinstance(outputs, Mapping) and "logits" in outputs:
            return outputs["logits"]
        return outputs

    def tensor_of(self, model: nn.Module, inputs: Any) -> Tensor:
        """Return :meth:`outputs_of` the model, which must be one tensor; else see :meth:`check_tensor`."""
        return self.check_tensor(self.outputs_of(model, inputs))

    def check_tensor(self, outputs: Any) -> Tensor:
        """Return outputs that are one tensor.

        Raises:
            TypeError: If they are none, with what may be meant.
            ValueError: If they have no dimension for the samples.
        """
        if isinstance(outputs, Tensor) and outputs.ndim == 0:
            raise ValueError(
                "The model's output is a single number, of shape (), and not one for each sample. Where `squeeze()` "
                "takes the dimension of a batch of one away, say which is meant: `squeeze(1)`."
            )
        if isinstance(outputs, Tensor):
            return outputs
        several, heads = _heads_of(outputs)
        name = type(self).__name__
        way = f"Return the tensor from `forward`, or say where it is: `task={name}(forward=lambda model, inputs: ...)`."
        if heads:
            first = shown(heads[0])
            way = f"Say which of {cut(', '.join(map(shown, heads)), 200)}: `task={name}(output={first})`."
        raise NoSuchOutput(f"`{name}` looks at one output of the model, a tensor, got {several}. {way}")

    def _one_of(self, outputs: Any, output: int | str) -> Any:
        if isinstance(outputs, Mapping):
            present = output in outputs
        elif isinstance(output, int):
            present = isinstance(outputs, (tuple, list)) and -len(outputs) <= output < len(outputs)
        else:
            present = not isinstance(outputs, Tensor) and hasattr(outputs, output)
        if not present:
            several, heads = _heads_of(outputs)
            ways = f" There is {cut(', '.join(map(shown, heads)), 200)}." if heads else " Leave `output=` out."
            meant = did_you_mean(output, heads)
            raise NoSuchOutput(f"`{type(self).__name__}(output={output!r})`: the model gives {several}{meant}.{ways}")
        is_attribute = isinstance(output, str) and not isinstance(outputs, Mapping)
        return getattr(outputs, str(output)) if is_attribute else outputs[output]

    @contextlib.contextmanager
    def explaining(self, inputs: Any) -> Iterator[None]:
        """Add to the errors of a model that is called with ``inputs`` what the user may have meant instead.

        Raises:
            ValueError: For any error, which is its cause, but for those of this class.
        """
        try:
            yield
        except NoSuchOutput:
            raise
        except Exception as error:
            name = type(self).__name__
            leaves = [tuple(leaf.shape) for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
            raise ValueError(
                f"The model failed on what `{name}` takes for its inputs, tensors of shapes {leaves}: "
                f"{type(error).__name__}: {cut(error)}. If other entries of a batch are meant, say which: "
                f"`task={name}(inputs=[0, 1], target=2)`, or names in a dict. If `forward` is for something else: "
                f"`task={name}(forward=lambda model, inputs: ...)`."
            ) from error

    def new_target(self, label: Any) -> Any:
        """Return a decoded label as the target of a sample that had none."""
        return label

    def with_label(self, sample: Any, label: Any) -> Any:
        """Return ``sample`` with its target replaced, in the type that it had unless that cannot hold the label."""
        target = self._name_in(sample, self._target)
        if isinstance(target, str) and hasattr(sample, "keys"):
            labelled = copy.copy(sample)
            own = sample[target] if target in list(sample.keys()) else None
            labelled[target] = beside(sample, like(own, label, self.new_target))
            return labelled
        if isinstance(sample, Tensor):  # a sample without a target
            return (sample, beside(sample, self.new_target(label)))
        if isinstance(sample, (tuple, list)) and len(sample) == 1:
            return (sample[0], beside(sample, self.new_target(label)))
        if isinstance(target, str):  # a name, and the sample has none
            raise TypeError(self._unknown(sample, target))
        label = beside(sample, like(self._entry(sample, target), label, self.new_target))
        if hasattr(sample, "_replace"):  # a named tuple
            return sample._replace(**{sample._fields[target]: label})
        entries: list[Any] = list(sample)
        entries[target] = label
        return type(sample)(entries)

    def completed(self, sample: Any, example: Any) -> Any:
        """Return ``sample`` in the form of ``example``: inputs alone get a target, that of the example.

        Inputs may be bare, the entries of a tuple without the target, or those of a dict.

        Raises:
            TypeError: If what the example has beside its target is not there.
        """
        if hasattr(example, "keys"):
            return self._completed_dict(sample, example)
        if not isinstance(example, (tuple, list)):
            raise TypeError(f"training samples are no tuples, lists or dicts: {type(example).__name__}")
        target = self._target if isinstance(self._target, int) else 1
        target %= len(example)
        entries = [sample] if _is_bare(sample, example, target) else list(sample)
        if len(entries) == len(example) - 1:
            entries.insert(target, None)
        elif len(entries) != len(example):
            raise TypeError(f"{len(example) - 1} entries are needed beside the target, got {len(entries)}")
        if entries[target] is None:
            entries[target] = self.blank_target(example[target], self.inputs(tuple(entries)))
        entries[target] = self._target_like(example[target], entries[target])
        return type(example)(*entries) if hasattr(example, "_replace") else type(example)(entries)

    def _completed_dict(self, sample: Any, example: Any) -> Any:
        target = self._name_in(example, self._target)
        others = [name for name in example.keys() if name != target]  # noqa: SIM118
        if not hasattr(sample, "keys"):
            entries = sample if isinstance(sample, tuple) else (sample,)
            if len(entries) != len(others):
                raise TypeError(f"entries {cut(', '.join(map(shown, others)))} are needed, got {len(entries)}")
            sample = dict(zip(others, entries, strict=True))
        missing = [name for name in others if name not in list(sample.keys())]
        if missing:
            raise TypeError(
                f"beside the target it needs {cut(', '.join(map(shown, others)))}, and "
                f"{cut(', '.join(map(shown, missing)))} {'is' if len(missing) == 1 else 'are'} missing"
            )
        completed = copy.copy(example)
        for name in others:
            completed[name] = sample[name]
        own = sample[target] if target in list(sample.keys()) else None
        if own is None:
            own = self.blank_target(example[target], self.inputs_there(completed))
        completed[target] = self._target_like(example[target], own)
        return completed

    def blank_target(self, example: Any, inputs: Any) -> Any:
        """Return what stands for the target of a sample that has none: that of an example.

        Args:
            example: The target of a training sample.
            inputs: Of the sample.
        """
        return example

    def _target_like(self, example: Any, own: Any) -> Any:
        """Return a sample's own target, a number in the type of the example's."""
        if isinstance(own, type(example)) or count_of(own) != 1 or count_of(example) != 1:
            return own
        with contextlib.suppress(TypeError, ValueError, RuntimeError):
            return like(example, own, self.new_target)
        return own


def _check_entries(inputs: Any, target: Any) -> None:
    entries = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    if not entries:
        raise ValueError("`inputs` is an empty list; the model is called with at least one entry of a batch.")
    kinds = {type(entry) for entry in [*entries, target]}
    if kinds not in ({int}, {str}):
        raise TypeError(
            "`inputs` and `target` must all be positions (integers), or all names (strings), got "
            f"inputs={shown(inputs)}, target={shown(target)}."
        )


def _heads_of(outputs: Any) -> tuple[str, list[int | str]]:
    """Say what outputs are, and under which names or positions there are tensors in them."""
    name = type(outputs).__name__
    if isinstance(outputs, Tensor):
        return f"one tensor, {tuple(outputs.shape)}", []
    if isinstance(outputs, (tuple, list)):
        return f"a {name} of {len(outputs)}", [i for i, value in enumerate(outputs) if isinstance(value, Tensor)]
    if isinstance(outputs, Mapping):
        several = f"a {name} of {cut(', '.join(map(shown, outputs)), 200) or 'nothing'}"
    else:
        several, outputs = f"a {name}", getattr(outputs, "__dict__", {})
    return several, [key for key, value in outputs.items() if isinstance(value, Tensor)]


def _is_bare(sample: Any, example: Any, target: int) -> bool:
    """Whether a sample is an input itself, and no tuple or list of entries as the example."""
    if not isinstance(sample, list):
        return not isinstance(sample, tuple)
    if len(example) != 2 or not isinstance(example[1 - target], list):
        return False
    return len(sample) != 2 or not isinstance(sample[1 - target], list)  # a list may be an input
