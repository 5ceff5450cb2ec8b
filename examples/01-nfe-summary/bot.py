"""Reads Brazilian electronic invoices (NF-e and NFC-e, layout 4.00): count and totals per issuer and month.

Every file that is not counted is named in the result with the reason, and stops nothing.
"""

import importlib.util
import re
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from xml.parsers import expat

from lxml import etree

from maestro.worker import BotError

NFE = "{http://www.portalfiscal.inf.br/nfe}"
MAX_BYTES = 2 * 1024 * 1024  # the tax authority takes 500 KB at most
KEY = r"\d{6}[0-9A-Z]{12}\d{26}"  # state, month, CNPJ (which may have letters), model, number, check digit
AUTHORIZED = {"100", "150"}  # cStat: authorized; authorized past its term
OTHERS = {
    "inutNFe": "a request to void numbers",
    "procEventoNFe": "an event",
    "cteProc": "a transport document",
}


class NotCountedError(Exception):
    """Not an invoice to count, and nothing wrong with it."""


class EmptyFileError(Exception):
    """There is nothing in the file."""


class UnreadableError(Exception):
    """The file should have been an invoice and can't be read as one."""


@dataclass(frozen=True)
class Invoice:
    key: str
    issuer: str
    name: str
    issued: datetime
    value: Decimal

    @property
    def month(self):
        return f"{self.issued:%Y-%m}"  # as issued, in the issuer's own time zone


@dataclass
class Group:
    count: int = 0
    total: Decimal = Decimal(0)
    latest: Invoice | None = None

    def add(self, invoice):
        self.count += 1
        self.total += invoice.value
        # An issuer writes its name in several ways: the newest invoice's is shown.
        if self.latest is None or invoice.issued >= self.latest.issued:
            self.latest = invoice


@dataclass
class Report:
    log: object
    groups: dict = field(default_factory=lambda: defaultdict(Group))
    seen: dict = field(default_factory=dict)
    outcomes: Counter = field(default_factory=Counter)
    failed: list = field(default_factory=list)
    not_counted: list = field(default_factory=list)

    def read(self, file, path, wanted):
        try:
            invoice = self.first_of_its_key(file, parse(path))
            if not wanted(invoice):
                raise NotCountedError("not of the issuer or month asked for")
        except NotCountedError as reason:
            self.leave_out("skipped", file, str(reason))
        except EmptyFileError as reason:
            self.leave_out("no_data", file, str(reason))
        except (UnreadableError, OSError) as error:
            self.log.warning("%s: failed: %s", file, error)
            error_class = "INVALID_PARAMETERS" if isinstance(error, UnreadableError) else "UNKNOWN"
            self.failed.append({"file": file, "error_class": error_class, "message": str(error)})
        else:
            self.outcomes["ok"] += 1
            self.groups[invoice.issuer, invoice.month].add(invoice)
            self.log.info("%s: %s of %s, %s", file, invoice.value, invoice.name, invoice.month)

    def first_of_its_key(self, file, invoice):
        earlier = self.seen.setdefault(invoice.key, file)
        if earlier != file:
            raise NotCountedError(f"the same invoice as {earlier} (access key {invoice.key})")
        return invoice

    def leave_out(self, outcome, file, reason):
        self.log.info("%s: not counted: %s", file, reason)
        self.outcomes[outcome] += 1
        self.not_counted.append({"file": file, "outcome": outcome, "reason": reason})

    def result(self):
        return {
            "totals": [
                {
                    "issuer": issuer,
                    "name": group.latest.name,
                    "month": month,
                    "invoices": group.count,
                    "total": str(group.total),
                }
                for (issuer, month), group in sorted(self.groups.items())
            ],
            "invoices": self.outcomes["ok"],
            "total": str(sum((group.total for group in self.groups.values()), Decimal("0.00"))),
            "not_counted": self.not_counted,
            "partial_success": bool(self.failed and self.outcomes["ok"]),
            "summary": {
                "ok": self.outcomes["ok"],
                "failed": self.failed,
                "no_data": self.outcomes["no_data"],
                "skipped": self.outcomes["skipped"],
            },
        }


def run(parameters, context):
    wanted = filters(parameters)
    report = Report(context.log)
    for file, path in inputs(parameters):
        if context.cancelled:
            break
        report.read(file, path, wanted)
    result = report.result()
    return result if report.outcomes["ok"] or report.failed else context.no_data(result)


def filters(parameters):
    issuer = re.sub(r"[./-]", "", text_parameter(parameters, "issuer")).upper()
    month = text_parameter(parameters, "month")
    if month and not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month):
        raise BotError(f"month is {month!r}; give it as 2018-08, or not at all", "INVALID_PARAMETERS")
    return lambda invoice: issuer in ("", invoice.issuer) and month in ("", invoice.month)


def text_parameter(parameters, name):
    value = parameters.get(name) or ""
    if not isinstance(value, str):
        raise BotError(f"{name} is {value!r}; give a text", "INVALID_PARAMETERS")
    return value.strip()


def inputs(parameters):
    """Name and path of each file: nfelib's own samples, then those of `directory`."""
    if parameters.get("samples", True):
        yield from files_below("nfelib", samples())
    if directory := text_parameter(parameters, "directory"):
        if not Path(directory).is_dir():
            raise BotError(f"the directory {directory} does not exist", "INVALID_PARAMETERS")
        yield from files_below("", Path(directory))


def samples():
    """Where nfelib keeps them; its generated classes, slow to import, are not needed."""
    package = importlib.util.find_spec("nfelib")
    return Path(package.submodule_search_locations[0], "nfe", "samples", "v4_0")


def files_below(prefix, root):
    for path in sorted(root.rglob("*.xml")):
        inside = path.relative_to(root)
        # A mounted ConfigMap shows each key twice, once below a name with two dots.
        if path.is_file() and not any(part.startswith(".") for part in inside.parts):
            yield str(Path(prefix, inside)), path


def parse(path):
    root = document(content(path))
    kind = etree.QName(root).localname
    if root.tag not in (f"{NFE}NFe", f"{NFE}nfeProc"):
        raise NotCountedError(f"{OTHERS.get(kind, 'another kind of document')} ({kind}), not an invoice")
    invoice = root.find(f".//{NFE}infNFe")
    if invoice is None:
        raise UnreadableError(f"a {kind} without infNFe")
    if invoice.get("versao") != "4.00":
        raise NotCountedError(f"layout {invoice.get('versao')}, not 4.00")
    status = root.findtext(f"{NFE}protNFe/{NFE}infProt/{NFE}cStat")
    if status is not None and status not in AUTHORIZED:
        raise NotCountedError(f"not authorized: cStat {status}")
    return fields(invoice)


def content(path):
    if path.stat().st_size > MAX_BYTES:
        raise UnreadableError(f"larger than {MAX_BYTES} bytes")
    data = path.read_bytes()
    if not data.strip():
        raise EmptyFileError("an empty file")
    return data


def document(data):
    refuse_document_type(data)
    # Nothing is fetched, no entity replaced, no limit of libxml2 lifted.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise UnreadableError(f"not well-formed XML: {error.msg}") from None
    return root


def refuse_document_type(data):
    """An invoice has none; what declares one wants its entities replaced: an attack, by size or by theft."""

    def refuse(*_):
        raise UnreadableError("it declares a document type (DTD), which is refused")

    def reached(*_):
        raise StopIteration

    prolog = expat.ParserCreate()
    prolog.StartDoctypeDeclHandler, prolog.StartElementHandler = refuse, reached
    # What expat can't read, the parser proper will say better.
    with suppress(StopIteration, expat.ExpatError, LookupError, ValueError):
        prolog.Parse(data, True)


def fields(invoice):
    key = invoice.get("Id", "").removeprefix("NFe")
    if not re.fullmatch(KEY, key):
        raise UnreadableError(f"its Id {invoice.get('Id')!r} is not an access key")
    issuer = invoice.findtext(f"{NFE}emit/{NFE}CNPJ") or required(invoice, "emit/CPF", r"\d{11}")
    return Invoice(
        key=key,
        issuer=issuer,
        name=required(invoice, "emit/xNome", r".+"),
        issued=moment(required(invoice, "ide/dhEmi", r".+")),
        value=Decimal(required(invoice, "total/ICMSTot/vNF", r"\d{1,13}\.\d{2}")),
    )


def required(invoice, path, pattern):
    text = invoice.findtext("/".join(NFE + step for step in path.split("/")))
    if text is None or not re.fullmatch(pattern, text):
        raise UnreadableError(f"{path} is {text!r}" if text else f"{path} is missing")
    return text


def moment(text):
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise UnreadableError(f"ide/dhEmi is {text!r}, not a time") from None
