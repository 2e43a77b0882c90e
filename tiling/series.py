"""Files of several pictures: which of them are a scanner's label or overview, as their names in OME-XML say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from tiling.errors import InputError

# "label image", "macro image", "macro mask image" and "overview" are Bio-Formats', others put the slide's name before.
_LABEL = re.compile(
    r"(?:.*[\W_])?(?:label|macro|overview|thumbnail)[\W_]*(?:mask)?[\W_]*(?:image)?[\W_]*", re.IGNORECASE | re.DOTALL
)

ONLY_LABELS = "has no picture but a scanner's label, macro or thumbnail, by their names"


def is_label(name: str | None) -> bool:
    """Whether a picture of that name is a label, a macro or a thumbnail, which may show a patient's name.

    Examples
    --------
    >>> [is_label(name) for name in ("label image", "a.svs [macro image]", "labelled", "a.svs", None)]
    [True, True, False, False, False]
    """
    return name is not None and _LABEL.fullmatch(name) is not None


def parsed_ome(xml: str | bytes) -> Element:
    """The root of OME-XML; an :class:`InputError` with the reason if it cannot be read."""
    try:
        root: Element = fromstring(xml)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise InputError(f"has OME-XML that cannot be read: {' '.join(str(error).split())}") from error
    return root


def elements(element: Element, name: str) -> Iterator[Element]:
    """Descendants of a name, whatever version of the schema they are of."""
    return (one for one in element.iter() if isinstance(one.tag, str) and one.tag.rpartition("}")[2] == name)
