"""Classes of the action sets and the coarse ones that they fall into.

MA-52's coarse classes are its own ("body" classes); those of the other sets were drawn up here, by the part of the body
and the kind of movement.
"""

from __future__ import annotations

from posepipe.datasets.actions import ActionClasses

__all__ = ["JHMDB14", "MA52", "NTU60", "NTU120", "UPFALL", "UTKINECT"]

JHMDB14 = ActionClasses.grouped(
    {
        "going": ("jump", "run", "walk"),
        "posture": ("pick", "sit", "stand"),
        "handling": ("catch", "golf", "push", "throw"),
        "arms": ("clap", "pour", "pullup", "wave"),
    }
).sorted_as(
    ("catch", "clap", "golf", "jump", "pick", "pour", "pullup", "push", "run", "sit", "stand", "throw", "walk", "wave")
)

UTKINECT = ActionClasses.grouped(
    {
        "going": ("walk", "carry"),
        "posture": ("sitDown", "standUp", "pickUp"),
        "arms": ("throw", "push", "pull", "waveHands", "clapHands"),
    }
).sorted_as(("walk", "sitDown", "standUp", "pickUp", "carry", "throw", "push", "pull", "waveHands", "clapHands"))

#: activities 1 to 11 in their order
UPFALL = ActionClasses.grouped(
    {
        "falling": (
            *("falling forward using hands", "falling forward using knees", "falling backward", "falling sideward"),
            "falling sitting in empty chair",
        ),
        "moving": ("walking", "picking up an object", "jumping"),
        "still": ("standing", "sitting", "laying"),
    }
).sorted_as(
    (
        *("falling forward using hands", "falling forward using knees", "falling backward", "falling sideward"),
        *("falling sitting in empty chair", "walking", "standing", "sitting", "picking up an object", "jumping"),
        "laying",
    )
)

# first and last action number of each coarse class, and their names: MA-52's list, section 3 of its paper
_MA52_FIRST = (0, 5, 11, 24, 32, 38, 48)
_MA52_BODY = ("body", "head", "upper limb", "lower limb", "body-hand", "head-hand", "leg-hand")
#: the 52 micro-actions of MA-52 by number
MA52 = ActionClasses(
    tuple(f"action {n}" for n in range(52)),
    _MA52_BODY,
    tuple(sum(n >= first for first in _MA52_FIRST) - 1 for n in range(52)),
)

_NTU60 = (
    *("drink water", "eat meal", "brush teeth", "brush hair", "drop", "pick up", "throw", "sit down", "stand up"),
    *("clap", "read", "write", "tear up paper", "put on jacket", "take off jacket", "put on a shoe", "take off a shoe"),
    *("put on glasses", "take off glasses", "put on a hat", "take off a hat", "cheer up", "hand waving"),
    *("kick something", "reach into pocket", "hop", "jump up", "phone call", "play with phone", "type on a keyboard"),
    *("point to something", "take a selfie", "check time", "rub two hands", "nod head", "shake head", "wipe face"),
    *("salute", "put palms together", "cross hands in front", "sneeze", "stagger", "fall down", "touch head"),
    *("touch chest", "touch back", "touch neck", "nausea", "use a fan", "punch somebody", "kick somebody"),
    *("push somebody", "pat somebody's back", "point at somebody", "hug somebody", "give something"),
    *("touch somebody's pocket", "shake hands", "walk towards each other", "walk apart"),
)
_NTU60_GROUPS = ("objects", "posture", "clothes", "hands", "head", "whole body", "unwell", "two people")
_NTU60_COARSE = {
    "objects": (1, 2, 3, 4, 11, 12, 13, 25, 28, 29, 30, 32, 33),
    "posture": (5, 6, 8, 9),
    "clothes": (14, 15, 16, 17, 18, 19, 20, 21),
    "hands": (7, 10, 22, 23, 31, 34, 38, 39, 40, 49),
    "head": (35, 36, 37),
    "whole body": (24, 26, 27),
    "unwell": (41, 42, 43, 44, 45, 46, 47, 48),
    "two people": (50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60),
}
_NTU60_GROUP_OF = {number: _NTU60_GROUPS.index(group) for group, numbers in _NTU60_COARSE.items() for number in numbers}

#: A1 to A60 of NTU RGB+D, in eight coarse classes
NTU60 = ActionClasses(_NTU60, _NTU60_GROUPS, tuple(_NTU60_GROUP_OF[n] for n in range(1, 61)))
#: A1 to A120 of NTU RGB+D 120, by number
NTU120 = ActionClasses((*_NTU60, *(f"A{n:03d}" for n in range(61, 121))))
