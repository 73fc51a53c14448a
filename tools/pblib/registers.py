# SPDX-License-Identifier: BSD-2-Clause
"""The lint that keeps bare register numbers out of the virtual devices (hv/vdev and the folders below it).

A register or port is known by a #define or an enum (there a number may stand); what counts elsewhere:
  case         a number in the label of a `case` if it is hexadecimal, or if the switch is over a place (see PLACE);
  compare      a place compared with a number, on either side: `off == 0x10`, `io->addr >= 0x3d0`, `word == 1`;
  arithmetic   a place that a hexadecimal number is added to, taken from or cut with: `reg - 0x320`, `addr & 0x80`;
  store        a place that a hexadecimal number is stored to: `index = 0x20`;
  argument     a number where one of REGISTER_ARGUMENTS takes a register or a port;
  subscript    a hexadecimal number in brackets: `cmos[0x5b]`.
A place is a variable or field with one of the names that offsets, ports and register numbers have here. Everything else is
data: values, masks of a value, sizes, initialisers of tables. Decimal masks of a place (`addr & 1`) are lanes of it.
Tested by tools/tests/test_pblib.py."""
import re

from pblib import lint

FOLDER = "hv/vdev/"
HEX = r"(?<![\w.])0[xX][0-9a-fA-F]+[uUlL]*\b"
NUMBER = r"(?<![\w.])(?:%s|\d+[uUlL]*\b)" % HEX
# msr is the number of one; as a field it is the UART's modem status
PLACE = r"\b(?:(?:\w+_)?(?:reg|off|offset|index|sel|addr|port|word|key)|(?<!->)(?<!\.)msr)\b"
PLACE_IN = r"(?:\((?:[\w ]+\*?)\)\s*)?(?:\w+(?:\[\w+\])?(?:->|\.))*" + PLACE  # (uint32_t)io->addr
REST = r"(?!\s*[\[(.]|\s*->)"  # the variable itself: not what it holds or what is called
COMPARE = r"(?:[=!]=|[<>]=?(?![<>]))"
RULES = [
    ("compare", PLACE + REST + r"\s*" + COMPARE + r"\s*\(?\s*" + NUMBER),
    ("compare", NUMBER + r"\s*\)?\s*(?<![<>])" + COMPARE + r"\s*" + PLACE_IN + REST),
    # (addr & MASK) == 6: a part of a place
    ("compare", r"\(\s*" + PLACE_IN + REST + r"\s*[&>][^()=!]*\)\s*" + COMPARE + r"\s*" + NUMBER),
    ("arithmetic", PLACE + REST + r"\s*(?:[-+&|^%/*]|<<|>>)=?\s*~?\s*" + HEX),
    ("arithmetic", HEX + r"\s*(?:[-+|^]|&(?!&))\s*" + PLACE_IN + REST),
    ("store", PLACE + REST + r"\s*=(?!=)\s*" + HEX),
    ("subscript", r"\[\s*" + HEX),
]
# function: the argument that is a register or a port, from 0
REGISTER_ARGUMENTS = {"vbus_add_pio": 1, "vbus_add_pio_bytes": 1, "vbus_add_mmio": 1, "vlapic_read": 2, "vlapic_write": 2,
                      "put16": 1}


def without_names(text):
    """The same lines without comments, strings, directives and the bodies of enums, where numbers get their names."""
    def blank(m):
        return re.sub(r"[^\n]", " ", m.group())

    text = re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)
    text = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, text, flags=re.M)
    return re.sub(r"\benum\b[^;{}()]*\{[^{}]*\}", blank, text)


def closing(text, at):
    """Position of the bracket that closes the one at `at`; the end of the text if none does."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] in "({[") - (text[i] in ")}]")
        if depth == 0:
            return i
    return len(text)


def arguments(text, at):
    """The arguments of the call whose bracket opens at `at`."""
    parts, depth, end = [""], 0, closing(text, at)
    for c in text[at + 1:end]:
        depth += (c in "({[") - (c in ")}]")
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [p.strip() for p in parts]


def cases(text):
    """(position of a case label, the label, what its switch is over), inner switches for themselves."""
    switches = []
    for m in re.finditer(r"\bswitch\s*\(", text):
        end = closing(text, m.end() - 1)
        body = text.find("{", end)
        if body >= 0:
            switches.append((body, closing(text, body), text[m.end():end]))
    for m in re.finditer(r"\bcase\b([^:;{}?]*):", text):
        around = [s for s in switches if s[0] < m.start() < s[1]]
        yield m.start(), m.group(1), max(around)[2] if around else ""


def bare(text):
    """(line, rule, the words) of each bare register number."""
    text = without_names(text)
    found = []
    for at, label, over in cases(text):
        over_place = re.fullmatch(r"[^?]*?" + PLACE + r"(?:\s*(?:&|>>)[^?]*)?\)?", over.strip())
        if re.search(NUMBER if over_place else HEX, label):
            found.append((at, "case", label))
    for rule, pattern in RULES:
        found += [(m.start(), rule, m.group()) for m in re.finditer(pattern, text)]
    for m in re.finditer(r"\b(%s)\s*\(" % "|".join(REGISTER_ARGUMENTS), text):
        args, n = arguments(text, m.end() - 1), REGISTER_ARGUMENTS[m.group(1)]
        if len(args) > n and re.match(r"(?:\(\w+\)\s*)?" + NUMBER, args[n]):
            found.append((m.start(), "argument", "%s(.., %s" % (m.group(1), args[n])))
    return [(text.count("\n", 0, at) + 1, rule, " ".join(words.split())) for at, rule, words in sorted(found)]


def problems(_out=None, names=None, read=lint.read):
    names = lint.tracked(".c", ".h") if names is None else names
    return ["%s:%d: a bare register number (%s): `%s`; name it by its manual" % (name, line, rule, words)
            for name in names if name.startswith(FOLDER) for line, rule, words in bare(read(name))]
