"""Schemes in live models of Hugging Face transformers (5.24).

    import ropescope.transformers
    with ropescope.transformers.use(model, "id-align"):
        model.generate(**inputs, max_new_tokens=32)

The model stays what it is: inside the block its attention layers get rotary tables that ropescope makes of the prompt's layout,
in place of the model's own (forward pre-hooks, which go with the block; `generate`, which encodes pictures before the first pass,
is wrapped to remember what the processor gave). Position ids that the model computes itself are left as they are, since all that
they decide is those tables and which tokens of a packed row see each other.
"""

import functools
import inspect
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from ropescope import _core
from ropescope.errors import InputError, UsageError
from ropescope.prompts import REAL, WHOLE, place

FAMILIES = ("llava_next", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl", "llava", "llava_onevision")

_in_use: "weakref.WeakSet[Any]" = weakref.WeakSet()
_lock = threading.Lock()


@contextmanager
def use(model: Any, scheme: str, *, folder: str | PathLike[str] | None = None) -> Iterator[Any]:
    """Gives a live vision-language model the positions of a scheme while the block runs; yields the model.

    model: a loaded LLaVA-NeXT, LLaVA-1.5, LLaVA-OneVision, Qwen2-VL, Qwen2.5-VL, Qwen3-VL or InternVL model, on any device, in any
    dtype, with any attention implementation. scheme: ids, allocations of channels, schemes whose heads or layers differ.
    folder: where config.json and the processor's settings lie; unless given the folder or the cached snapshot that the model was
    loaded from. No weight is read.

    forward and generate get what the processor gives: input_ids with placeholders expanded, attention_mask, grids or image_sizes.
    A prompt goes through in one pass; a later pass with a cache goes on where the scheme counts generated tokens.

    Raises UsageError for schemes that change attention itself, which cannot be done from outside, for a model that has one in use
    or whose rotation pairs neighbouring channels, and for a later pass whose prompt is not the last one that was seen here. Not for
    two threads at once: a model has one scheme at a time.
    """
    facts = _core.scheme_facts(scheme)
    if facts["anchored"] or facts["has_rule"]:
        what = "queries that turn twice" if facts["anchored"] else "a mask or bias of its own"
        raise UsageError(
            f"{scheme}: expected a scheme of position ids and channels, found one whose attention has {what}, which cannot be given to a "
            "model from outside. Try: ropescope generate, attention or evaluate --scheme"
        )
    family = str(getattr(model.config, "model_type", ""))
    if family not in FAMILIES:
        raise UsageError(f"model: expected one of {', '.join(FAMILIES)}, found {family or type(model).__name__}")
    source = _core.ModelFolder(str(_folder_of(model) if folder is None else Path(folder)))
    if source.adjacent_pairs:
        raise UsageError(
            "model: expected a text model that pairs channel i with channel i + rotary dimension/2, found one that pairs neighbours. "
            "Try: ropescope generate, attention or evaluate --scheme"
        )
    heads_differ = source.heads_differ(scheme)
    decoder = _decoder_of(model)
    with _lock:
        if decoder in _in_use:
            raise UsageError("use: expected a model that is under no scheme, found one inside another block. Try: end that block first")
        _in_use.add(decoder)
    turner = _Turner(source, scheme, tiles=family in ("internvl", "llava"))
    handles: list[Any] = []
    own_generate = vars(model).get("generate")
    try:
        if hasattr(model, "generate"):
            model.generate = turner.remembering(model.generate)
        handles.append(model.register_forward_pre_hook(turner.see, with_kwargs=True))
        for number, layer in enumerate(decoder.layers):
            turner.hook(handles, number, layer.self_attn, heads_differ)
        yield model
    finally:
        for handle in handles:
            handle.remove()
        vars(model).pop("generate", None)
        if own_generate is not None:
            model.generate = own_generate
        with _lock:
            _in_use.discard(decoder)


def _folder_of(model: Any) -> Path:
    name = getattr(model.config, "name_or_path", "") or getattr(model, "name_or_path", "")
    if name and (Path(name) / "config.json").is_file():
        return Path(name)
    if name:
        from transformers.utils import cached_file

        found = cached_file(name, "config.json", local_files_only=True, _raise_exceptions_for_missing_entries=False,
                            _raise_exceptions_for_connection_errors=False)
        if found:
            return Path(found).parent
    raise InputError(f"model: expected the folder that it was loaded from, found {name or 'no name'}. Try: use(model, scheme, folder=...)")


def _decoder_of(model: Any) -> Any:
    """The text model: what has layers with self_attn."""
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
    decoder = getattr(decoder, "language_model", decoder)
    if not hasattr(decoder, "layers") or not hasattr(decoder.layers[0], "self_attn"):
        raise UsageError(f"model: expected a text model with layers of attention, found {type(decoder).__name__}")
    return decoder


def _rotate_half(x: Any) -> Any:
    import torch

    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


class _Turner:
    """What the hooks share: the prompt in view, and the tables of the pass that is under way."""

    def __init__(self, source: Any, scheme: str, tiles: bool):
        self.source, self.scheme, self.tiles = source, scheme, tiles
        self.given: dict[str, Any] = {}  # to the call of generate that is under way
        self.prompt: Any = None
        self.seen = 0  # tokens of the prompt and behind it that went through
        self.copies = 1  # rows of the model for each of the prompt's: generate repeats them for beams and several answers
        self.tables: list[Any] = []  # (cos, sin) [batch, heads, tokens, rotary dimension], one or one a layer; None: no rotation
        self.moved: dict[Any, Any] = {}

    def remembering(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(generate)
        def call(*args: Any, **kwargs: Any) -> Any:
            self.given = {name: kwargs.get(name) for name in ("input_ids", *WHOLE, *REAL)}
            if args or "inputs" in kwargs:
                self.given["input_ids"] = args[0] if args else kwargs["inputs"]
            try:
                return generate(*args, **kwargs)
            finally:
                self.given = {}

        return call

    def see(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before the model's forward: which tokens come."""
        import torch

        if args:
            kwargs = {**dict(zip(inspect.signature(module.forward).parameters, args, strict=False)), **kwargs}
        input_ids = kwargs.get("input_ids")
        if input_ids is None:
            raise UsageError("use: expected input_ids, which say where the pictures stand, found a pass without them")
        cache = kwargs.get("cache") if kwargs.get("cache") is not None else kwargs.get("past_key_values")
        past = 0 if cache is None else int(cache.get_seq_length())
        if past == 0:
            self._place(input_ids, kwargs)
        elif (
            self.prompt is None
            or self.prompt.batch * self.copies != input_ids.shape[0]
            or not self.prompt.columns <= past <= self.seen
        ):
            raise UsageError(
                f"use: expected the pass of the prompt inside the block, found one that goes on after {past} tokens of another. "
                "Try: an empty cache, and a batch that stays what it was"
            )
        elif kwargs.get("pixel_values") is not None:
            raise UsageError(f"use: expected pictures in the first pass, found some after {past} tokens. Try: the whole conversation as one prompt")
        made = self.prompt.tables(past, input_ids.shape[1])
        self.tables = [None if one is None else tuple(self._whole(torch.from_numpy(half)) for half in one) for one in made]
        self.moved = {}
        self.seen = past + input_ids.shape[1]

    def _place(self, input_ids: Any, kwargs: dict[str, Any]) -> None:
        processor = {name: self.given.get(name) if kwargs.get(name) is None else kwargs[name] for name in (*WHOLE, *REAL)}
        if not self.tiles:
            processor["pixel_values"] = None  # (only tiles that came alone are compared with the whole picture)
        asked = self.given.get("input_ids")
        self.copies = 1 if asked is None else max(1, input_ids.shape[0] // asked.shape[0])
        mask = kwargs.get("attention_mask")
        if mask is not None and mask.dim() == 2:
            mask = mask[:: self.copies, : input_ids.shape[1]]
        else:
            mask = None  # made for the layers already; padding is then taken for text that nobody sees
        self.prompt = place(self.source, self.scheme, input_ids[:: self.copies], mask, processor)

    def _whole(self, half: Any) -> Any:
        """A table of channel pairs for both halves of a head, and for every copy of a row."""
        import torch

        return torch.cat((half, half), -1).repeat_interleave(self.copies, 0)

    def table(self, layer: int, like: Any, dtype: Any) -> Any:
        """Of a layer, where `like` lies; None where it does not rotate."""
        number = 0 if len(self.tables) == 1 else layer
        if self.tables[number] is None:
            return None
        key = number, like.device, dtype
        if key not in self.moved:
            self.moved[key] = tuple(half.to(like.device, dtype) for half in self.tables[number])
        return self.moved[key]

    def hook(self, handles: list[Any], layer: int, attention: Any, heads_differ: bool) -> None:
        """Before an attention layer: its table. Heads that turn differently do so after their projection (and norm)."""

        def turn(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            own = kwargs["position_embeddings"]
            table = self.table(layer, own[0], own[0].dtype)
            if table is None:
                return None
            cos, sin = table
            if cos.shape[1] > 1:  # heads differ: turned by `head_turn`, so that nothing is left to turn here
                cos, sin = cos[:, :1] * 0 + 1, sin[:, :1] * 0
            kwargs["position_embeddings"] = (cos[:, 0], sin[:, 0])
            return args, kwargs

        handles.append(attention.register_forward_pre_hook(turn, with_kwargs=True))
        for name in ("q", "k") if heads_differ else ():
            last = getattr(attention, f"{name}_norm", None) or getattr(attention, f"{name}_proj", None)
            if last is None:
                raise UsageError(
                    f"model: expected attention with {name}_proj, behind which heads turn each by its own table, found "
                    f"{type(attention).__name__} without. Try: ropescope generate, attention or evaluate --scheme"
                )
            handles.append(last.register_forward_hook(self._head_turn(layer, attention.head_dim)))

    def _head_turn(self, layer: int, head_dim: int) -> Callable[..., Any]:
        def turn(_module: Any, _args: tuple[Any, ...], output: Any) -> Any:
            import torch

            table = self.table(layer, output, torch.float32)
            if table is None or table[0].shape[1] == 1:
                return output
            cos, sin = table
            x = output.unflatten(-1, (-1, head_dim)) if output.dim() == 3 else output  # [batch, tokens, heads, head_dim]
            share = x.shape[2] // cos.shape[1]  # query heads of a key/value head
            cos, sin = (half.repeat_interleave(share, 1).transpose(1, 2) for half in (cos, sin))
            turned, rest = x[..., : cos.shape[-1]].float(), x[..., cos.shape[-1] :]
            turned = (turned * cos + _rotate_half(turned) * sin).to(x.dtype)
            return torch.cat((turned, rest), -1).view_as(output)

        return turn
