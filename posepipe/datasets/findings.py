"""What may be wrong with a set of labels: the codes, and a list that counts them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["Code", "Finding", "Findings"]

_EXAMPLES = 20


class Code(Enum):
    """Codes of findings: their name in files, the share from which on they spoil a training, and what they mean.

    A share of 0 means that one place is one too many, None that the finding is only told.

    The names are a promise of docs/datasets.md: they are added to, never renamed.
    """

    NO_PEOPLE = ("no-people", 0, "the set holds no person with a labelled keypoint")
    CONFIDENCE = ("confidence-as-visibility", 0, "visibility holds confidences, not 0, 1 or 2")
    NOT_FINITE = ("not-finite", 0, "a coordinate, box or area is NaN, infinite or beyond all measure")
    KEYPOINT_COUNT = ("keypoint-count", 0, "a person's keypoints are not three numbers a joint")
    BAD_BOX = ("bad-box", 0, "a person has no box of four numbers")
    INVERTED_BOX = ("inverted-box", 0.001, "a box has no width or no height")
    UNKNOWN_IMAGE = ("unknown-image", 0, "a person belongs to an image that the file does not list")
    UNKNOWN_CATEGORY = ("unknown-category", 0, "a row is of a category that the file does not list")
    DUPLICATE_ID = ("duplicate-id", 0, "two annotations have the same id")
    DUPLICATE_IMAGE_ID = ("duplicate-image-id", 0, "two images have the same id: whose people are whose is unknown")
    DUPLICATE_IMAGE = ("duplicate-image", 0, "two images have the same file name")
    JOINT_ORDER = ("joint-order", 0, "the joints have other names or another order than the skeleton's")
    OTHER_JOINTS = ("other-joints", 0, "pose training takes COCO's 17 joints: posepipe data convert maps these")
    SIDES_SWAPPED = ("sides-swapped", 0, "left and right are swapped against the body for most people")
    MISSING_IMAGE = ("missing-image", 0, "an image is not in the folder of pictures")
    UNREADABLE_IMAGE = ("unreadable-image", 0, "an image cannot be decoded")
    IMAGE_SIZE = ("image-size", 0, "an image has another size than the labels say")
    MISSING_VIDEO = ("missing-video", 0, "the set has videos, but not this one")
    UNREADABLE_VIDEO = ("unreadable-video", 0, "a video cannot be decoded")
    BEYOND_VIDEO = ("frame-beyond-video", 0.01, "a labelled frame lies beyond its video's end: training leaves it out")
    DAMAGED_VIDEO = ("damaged-video", None, "a video broke off or is damaged: what can be decoded is used")
    DUPLICATE_PERSON = ("duplicate-person", 0.01, "a person is labelled twice in an image")
    NUM_KEYPOINTS = ("num-keypoints", 0, "num_keypoints is not the number of labelled joints")
    ZERO_AREA = ("zero-area", 0.001, "a labelled person has area 0, for which OKS is undefined")
    OUTSIDE_PICTURE = ("keypoint-outside-picture", 0.01, "a labelled joint lies outside the picture")
    BOX_OUTSIDE = ("box-outside-picture", None, "a box reaches out of the picture by more than a pixel")
    OUTSIDE_BOX = ("keypoint-outside-box", None, "a labelled joint lies far outside its person's box")
    AREA_UNKNOWN = ("area-unknown", None, "a person has no segment area: 0.53 of the box is taken")
    AREA_BEYOND_BOX = ("area-beyond-box", None, "a segment area is larger than its box")
    OTHER_CATEGORY = ("other-category", None, "a row is of another category than people: it is left out")
    CROWD = ("crowd", None, "a row is a crowd (iscrowd), which training leaves out")
    SIGMAS_GUESSED = ("sigmas-guessed", None, "a joint has no OKS constant of COCO: a middle value is taken")
    NO_KEYPOINTS = ("no-keypoints", None, "a person has a box and no labelled keypoint")
    EMPTY_IMAGE = ("empty-image", None, "an image shows nobody")
    NO_SIZE = ("no-size", None, "the labels do not say how large an image is")
    LOW_CONFIDENCE = ("low-confidence", None, "labels come from a network: joints below 0.3 are set as labelled")
    REPEATED_ROWS = ("repeated-rows", None, "a person stood twice in a frame: the lower score was dropped")
    SEVERAL_PARTS = ("several-parts", None, "parts are read together: a path such as SET/images/train names one")
    UNREADABLE_LABELS = ("unreadable-labels", 0, "a label file of the set cannot be read")

    def __init__(self, label: str, tolerance: float | None, text: str) -> None:
        self.label = label
        self.tolerance = tolerance
        self.text = text


@dataclass
class Finding:
    """How often something is wrong, out of how many, and the first places."""

    code: Code
    count: int = 0
    total: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def spoils(self) -> bool:
        """Whether there are so many that a training is spoilt."""
        tolerance = self.code.tolerance
        return tolerance is not None and self.count > tolerance * self.total

    def line(self) -> str:
        """One line for people."""
        share = f" of {self.total}" if self.total else ""
        where = f" (first: {', '.join(self.examples[:3])})" if self.examples else ""
        return f"{self.code.label}: {self.count}{share}: {self.code.text}{where}"


class Findings:
    """Findings by code, in the order of :class:`Code`."""

    def __init__(self) -> None:
        self._found: dict[Code, Finding] = {}

    def add(self, code: Code, where: str, *, total: int = 0) -> None:
        """Count one place; ``total`` is the number of places looked at."""
        self.add_all(code, (where,), total=total)

    def add_all(self, code: Code, where: Iterable[str], *, total: int = 0) -> None:
        """Count several places."""
        for place in where:
            finding = self._found.setdefault(code, Finding(code))
            finding.count += 1
            finding.total = max(finding.total, total)
            if len(finding.examples) < _EXAMPLES:
                finding.examples.append(place)

    def merge(self, other: Findings) -> None:
        """Take over all that another list found."""
        for theirs in other.all():
            ours = self._found.setdefault(theirs.code, Finding(theirs.code))
            ours.count, ours.total = ours.count + theirs.count, ours.total + theirs.total
            ours.examples = (ours.examples + theirs.examples)[:_EXAMPLES]

    def all(self) -> list[Finding]:
        """Every finding, in the order of :class:`Code`."""
        return [self._found[code] for code in Code if code in self._found]

    def of(self, code: Code) -> Finding:
        """The finding of a code; one with count 0 where there is none."""
        return self._found.get(code, Finding(code))

    @property
    def spoiling(self) -> list[Finding]:
        """Those that spoil a training."""
        return [finding for finding in self.all() if finding.spoils]
