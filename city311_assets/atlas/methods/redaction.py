"""Redaction: phone numbers, e-mail addresses and licence plates leave a text before it is sent on.

What belongs here: patterns of what points to a person. What does not: names and addresses, which
are parts of what cities publish themselves.
"""

import re
from collections.abc import Sequence

PHONE, E_MAIL, PLATE = "[phone]", "[e-mail]", "[plate]"

# What has been read is not read again (`++`): a long text takes no longer than its length.
# Also with spaces about the sign, or with the sign and the stop in words.
E_MAILS = (
    re.compile(r"(?<![\w.+%'-])[\w.+%'-]++@[\w-]++(?:\.[\w-]++)+"),
    re.compile(
        r"(?<![\w.+%'-])[\w.+%'-]++\s?(?:@|[(\[]\s?at\s?[)\]])\s?[\w-]+\s?(?:\.|[(\[]\s?dot\s?[)\]])\s?"
        r"(?:com|org|net|edu|gov|io|us|me)\b",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?<![\w.+%'-])[\w.+%'-]++ at [\w-]++ dot (?:com|org|net|edu|gov|io|us|me)\b",
        re.IGNORECASE,
    ),
)

# North America: area code and exchange begin with 2 to 9. Ten digits in a row may be a case's.
TEN_DIGITS = re.compile(
    r"(?<![\w.-])(?:\+?1[\s.-]{0,2})?\(?[2-9]\d{2}\)?[\s./\u2013-]{0,3}[2-9]\d{2}[\s./\u2013-]{0,3}\d{4}(?!\d)"
    r"(?:\s?(?:x|ext\.?)\s?\d{1,6}\b)?",
    re.IGNORECASE,
)
ABROAD = re.compile(r"(?<![\w+])\+[1-9]\d{0,2}(?:[\s().-]{0,2}\d){7,12}(?!\d)")
# Without an area code only where it is said to be one: 500-1000 is also a range of houses.
SEVEN_DIGITS = re.compile(
    r"\b(?P<cue>(?:call|phone|telephone|tel|cell|mobile|fax|text|contact|dial)\b[^\d\n]{0,20})"
    r"[2-9]\d{2}[\s.-]\d{4}(?![\d-])",
    re.IGNORECASE,
)
NUMBER_OF_A_CASE = re.compile(
    r"(?:\b(?:case|request|ticket|reference|ref|tracking|confirmation|order|permit|sr|id)s?|#)"
    r"[\s:.#]*(?:(?:no|num|number|id)\b[\s:.#]*)?$",
    re.IGNORECASE,
)
LOOK_BACK = 40

# California's shapes, which nothing else has: 7ABC123; 4W86437, 32768E2 and 74666FZ are lorries.
CERTAIN_PLATES = (
    re.compile(r"(?<![A-Za-z0-9-])\d[A-Za-z]{3}\d{3}(?![A-Za-z0-9])"),
    re.compile(r"(?<![A-Za-z0-9-])\d[A-Z]{3}[ -]\d{3}(?![A-Za-z0-9-])"),
    re.compile(
        r"(?<![A-Za-z0-9-])(?:\d[A-Za-z]\d{5}|\d{5}[A-Za-z]\d|\d{5}[A-Za-z]{2})(?![A-Za-z0-9])"
    ),
)
# Whatever a plate is said to be: "license plate ABC 1234", "plate # is 1191880", "LP: XY-123".
SAID_PLATE = re.compile(
    r"\b(?P<cue>(?:licen[cs]e(?:\s?plates?|\s?(?:no|number|tag)s?\b|\s?#)|(?:number\s?)?plates?"
    r"|lic\b\.?|tags?(?=\s?[#:])|LP(?=\s?[#:]))"
    r"(?P<link>(?:[\s:.=#(-]|\b(?:no|number|num|is|was|reads?|of)\b){0,12}))"
    r"(?P<plate>[A-Za-z0-9]{1,5}[ -][A-Za-z0-9]{1,5}|[A-Za-z0-9]{2,8})(?![A-Za-z0-9])",
    re.IGNORECASE,
)
# What stands last in "white - Ford - Van - 5433", where a vehicle is spoken of.
VEHICLE = re.compile(
    r"\b(?:vehicles?|cars?|trucks?|vans?|suvs?|sedans?|campers?|motorhomes?|rvs?|motorcycles?"
    r"|scooters?|parked|parking|tow(?:ed|ing)?|driveways?)\b",
    re.IGNORECASE,
)
LAST_OF_A_LIST = re.compile(
    r"(?P<before>(?:^|[.;]\s)(?:[^-.;\n]*\s-\s){2,}(?:[A-Za-z]{3,10}\s)?)"
    r"(?P<plate>[A-Za-z0-9?]{1,5}[ -][A-Za-z0-9?]{2,5}|[A-Za-z0-9?]{4,8})(?=\s*(?:$|[.;,\n]))"
)
LETTERS_AND_DIGITS = re.compile(r"(?<![A-Za-z0-9-])([A-Z]{3})[ -]?\d{3,4}(?![A-Za-z0-9-])")
# Three letters that stand before a number for another reason.
SHORT_WORDS = (
    "ACE AND APR APT AUG AVE BAY BIN BLK BMW BOX BUS CAR CLA CLK CLS CRV DAY DEC DPH DPW FEB "
    "FOR GLA GLB GLC GLE GLK GLS GMC HRV HWY JAN JUL JUN LOT MAR MAY MTA NOV OCT PCO PGE PUC "
    "RAV RTE SEP SFO SLK SRT STE SUV THE TOP VAN WAY ZIP"
)
NO_LETTERS_OF_A_PLATE = frozenset(SHORT_WORDS.split())
NEXT_WORDS = (
    "a an and are at been by covered damaged expired for frame from gone has have holder in "
    "is light lights missing n na near no none not of off on only or out per removed said "
    "stolen that the to unk unkn unknown unkown unreadable was were with without"
)
NO_PLATE = frozenset(NEXT_WORDS.split())
ORDINAL = re.compile(r"\d+(?:st|nd|rd|th)", re.IGNORECASE)
YEAR = re.compile(r"(?:19|20)\d{2}")
DECIMAL = re.compile(r"\d+\.\d+")
# Most texts have nothing of the kind, which is quickly seen.
MAY_POINT = re.compile(r"[\d@]|[(\[]\s?at\b|\bat\b|plate|\blic|\btags?\b|\bLP\b| - ", re.IGNORECASE)


def redacted(text: str) -> str:
    """Return a text without what points to a person; again changes nothing."""
    # What stood against a number that is gone may be one itself.
    while MAY_POINT.search(text) and (shorter := _once_redacted(text)) != text:
        text = shorter
    return text


def _once_redacted(text: str) -> str:
    for pattern in E_MAILS:
        text = pattern.sub(E_MAIL, text)
    text = ABROAD.sub(PHONE, text)
    text = TEN_DIGITS.sub(_phone, text)
    text = SEVEN_DIGITS.sub(rf"\g<cue>{PHONE}", text)
    text = SAID_PLATE.sub(_said_plate, text)
    for pattern in CERTAIN_PLATES:
        text = pattern.sub(PLATE, text)
    if VEHICLE.search(text):
        text = LAST_OF_A_LIST.sub(_last_of_a_list, text)
        text = LETTERS_AND_DIGITS.sub(_letters_and_digits, text)
    return text


def all_redacted(texts: Sequence[str]) -> list[str]:
    """Return each text redacted."""
    return [redacted(text) for text in texts]


def _phone(found: re.Match[str]) -> str:
    """Keep ten digits in a row that are said to number a case, and decimal numbers."""
    digits = found.group()
    if DECIMAL.fullmatch(digits):
        return digits
    before = found.string[max(found.start() - LOOK_BACK, 0) : found.start()]
    is_case = digits.isdecimal() and NUMBER_OF_A_CASE.search(before)
    return digits if is_case else PHONE


def _said_plate(found: re.Match[str]) -> str:
    """Redact what follows the word, unless it is only the next words of a sentence."""
    cue, said = found["cue"], found["plate"]
    pieces = re.split(r"[ -]", said)
    if pieces[0].lower() in NO_PLATE:
        return found.group()
    if not _is_plate(pieces[-1]) and len(pieces) > 1:
        # The plate may be the first word alone, and the next one the sentence's.
        rest = said[len(pieces[0]) :]
        if _is_plate(pieces[0]) and len(pieces[0]) >= 4:
            return f"{cue}{PLATE}{rest}"
        return found.group()
    has_digit = any(piece.isdigit() or _is_plate(piece) for piece in pieces)
    joined = "".join(pieces)
    if not has_digit:
        is_told = bool(
            re.search(r"[:#=]|\b(?:is|no|number|num|reads?)\b", found["link"], re.IGNORECASE)
        )
        is_shown = said.isupper() and len(pieces) == 1 and 2 <= len(said) <= 8
        return f"{cue}{PLATE}" if is_told and is_shown else found.group()
    if len(joined) < 4 or YEAR.fullmatch(said) or any(map(ORDINAL.fullmatch, pieces)):
        return found.group()
    return f"{cue}{PLATE}"


def _is_plate(piece: str) -> bool:
    """Whether a piece has a digit and is no ordinal number."""
    return any(letter.isdigit() for letter in piece) and not ORDINAL.fullmatch(piece)


def _last_of_a_list(found: re.Match[str]) -> str:
    """Redact the last of colour, make and model; letters alone only where all four are given."""
    said = found["plate"]
    first = re.split(r"[ -]", said)[0].lower()
    if first in NO_PLATE or not said.strip("?") or YEAR.fullmatch(said):
        return found.group()
    has_digit = any(letter.isdigit() for letter in said)
    has_all = found["before"].count(" - ") >= 3
    if has_digit or (has_all and said.isupper()):
        return f"{found['before']}{PLATE}"
    return found.group()


def _letters_and_digits(found: re.Match[str]) -> str:
    return found.group() if found[1] in NO_LETTERS_OF_A_PLATE else PLATE
