import csv
from pathlib import Path

import pytest

from repertory.simulators.peer_review import (
    ExportRefusedError,
    Issue,
    ProfileInvalidError,
    Report,
    Scores,
    load_profile,
    read_manuscript,
    review,
)
from repertory.simulators.peer_review.calibration import fit_cut
from repertory.simulators.peer_review.decision import combine, decide
from repertory.simulators.peer_review.guards import disclose, guards_of
from repertory.simulators.peer_review.outcome import load_report, write_report
from repertory.simulators.peer_review.profiles import Thresholds, parse_profile, shipped
from repertory.simulators.peer_review.report import Anchor, Strength
from repertory.simulators.peer_review.signing import load_signature, sign_report
from repertory.simulators.peer_review.spread import spread_of
from tests.claims import claim
from tests.simulators.peer_review.planting import manuscript

LIMITS = Thresholds(risk=0.6, reject=0.35, accept=0.7)


def _scores(s: float, risk: float) -> Scores:
    return Scores(coherence=s, evidential_fit=s, methodological_validity=s, S=s, r_f=risk)


def _issue(severity: str, author: str = "rules", text: str = "It is unclear.") -> Issue:
    return Issue.model_validate(
        {"id": "i1", "severity": severity, "category": "statistics", "text": text, "action": "Say it.", "anchors": [], "reviewer": "r", "author": author}
    )  # fmt: skip


def _report(seed: int = 1, wrong: frozenset[str] = frozenset()) -> Report:
    return review(
        read_manuscript("m.txt", manuscript(seed, wrong).text.encode()), load_profile("journal")
    )


@claim("xpeerd:decision")
@pytest.mark.parametrize(
    ("s", "risk", "majors", "verdict", "rule"),
    [
        (0.9, 0.6, 0, "reject", "integrity"),
        (0.9, 0.599, 0, "accept", "accept"),
        (0.349, 0.0, 0, "reject", "quality"),
        (0.35, 0.0, 0, "revise", "otherwise"),
        (0.7, 0.0, 0, "accept", "accept"),
        (0.7, 0.0, 1, "revise", "otherwise"),
        (0.699, 0.0, 0, "revise", "otherwise"),
    ],
)
def test_the_first_rule_that_holds_decides_and_all_before_it_are_shown(
    s: float, risk: float, majors: int, verdict: str, rule: str
) -> None:
    """Ours: total and ordered; r_f, then S, then acceptance, then revision."""
    decision = decide(_scores(s, risk), [_issue("major")] * majors + [_issue("minor")] * 3, LIMITS)
    assert (decision.verdict, decision.rule) == (verdict, rule)
    assert [r.holds for r in decision.trace] == [False] * (len(decision.trace) - 1) + [True]
    assert f"{s:.3f}" in " ".join(r.sentence for r in decision.trace) or rule == "integrity"


def test_what_a_model_wrote_decides_nothing() -> None:
    """Ours: small models rate an empty paper above a good one, and larger ones can be told to."""
    assert decide(_scores(0.9, 0.0), [_issue("major", author="big")], LIMITS).verdict == "accept"


def test_reviewers_who_agree_decide_and_others_ask_for_a_revision() -> None:
    """Paper: xPeerd's double-blind task: unanimous, or Revise with a flag."""
    assert combine(["reject", "reject"]) == ("reject", False)
    assert combine(["accept", "reject"]) == ("revise", True)


def test_an_honest_manuscript_is_not_rejected_and_one_that_hides_a_prompt_is() -> None:
    """Ours: r_f of the hidden instruction alone is above every shipped threshold."""
    assert _report().decision.verdict != "reject"
    hidden = _report(1, frozenset({"zero_width"}))
    assert hidden.decision.verdict == "reject"
    assert hidden.decision.rule == "integrity"
    for name in shipped():
        assert hidden.scores.r_f >= load_profile(name).thresholds.risk


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: X\nthresholds: {reject: 0.8, accept: 0.7}", "reject must be below accept"),
        ("name: X\nthresholds: {accept: 1.7}", "thresholds.accept"),
        ("name: X\nthresholds: {risk: 0}", "reject every manuscript"),
        (
            "name: X\nweights: {coherence: 0, evidential_fit: 0, methodological_validity: 0}",
            "at least one",
        ),
        ("name: X\nweights: {coherence: -1}", "weights.coherence"),
        ("name: X\nskip: [seedz]", "no question 'seedz'"),
        ("name: X\ncolour: red", "no such key"),
        ("thresholds: {}", "name: it is missing"),
        ("- a", "a profile is a mapping"),
        ("name: [", "no YAML"),
    ],
)
def test_a_profile_that_cannot_be_is_refused_with_its_file_and_key(text: str, says: str) -> None:
    """Ours: impossible thresholds would decide every manuscript alike."""
    with pytest.raises(ProfileInvalidError) as caught:
        parse_profile(text, "venue.yaml")
    assert caught.value.sentence.startswith("venue.yaml")
    assert says in caught.value.sentence


def test_the_shipped_profiles_are_read_and_an_unknown_one_names_them(tmp_path: Path) -> None:
    """Ours: neurips, iclr, acl and journal; a file of one's own by its path."""
    assert set(shipped()) == {"neurips", "iclr", "acl", "journal"}
    for name in shipped():
        assert load_profile(name).digest() == load_profile(name.upper()).digest()
    with pytest.raises(ProfileInvalidError, match="acl, iclr, journal, neurips"):
        load_profile("nips")
    own = tmp_path / "own.yaml"
    own.write_text("name: Own\nthresholds: {accept: 0.9}\n", encoding="utf-8")
    assert load_profile(str(own)).thresholds.accept == 0.9


@claim("xpeerd:guards")
def test_a_report_that_fails_a_guard_is_not_written(tmp_path: Path) -> None:
    """Paper: xPeerd's deontic guards: disclose, verify citations, leave the decision, no persons."""
    report = _report()
    assert [guard.passed for guard in report.guards] == [True] * 4
    write_report(report, tmp_path / "good")
    for guard in ("G1", "G2", "G3", "G4"):
        broken = report.model_copy(
            update={
                "guards": tuple(
                    g.model_copy(update={"passed": g.id != guard}) for g in report.guards
                )
            }
        )
        with pytest.raises(ExportRefusedError, match=guard):
            write_report(broken, tmp_path / guard)
        assert not (tmp_path / guard).exists()


def test_each_guard_sees_what_it_is_for() -> None:
    """Ours: a model nobody says the place of, a decision taken, a word about the authors."""
    manuscript_ = read_manuscript("m.txt", manuscript(1).text.encode())
    strength = Strength(
        id="g1", text="Good.", anchors=(Anchor(page=1, kind="quote", quote="x"),), reviewer="r"
    )

    def failed(
        issues: list[Issue], served: dict[str, str], status: str = "advisory: needs a human editor"
    ) -> list[str]:
        disclosure = disclose(issues, [strength], served)
        guards = guards_of(
            manuscript_, issues, [strength], "A summary.", [], disclosure, served, status
        )
        return [guard.id for guard in guards if not guard.passed]

    assert failed([_issue("minor")], {}) == []
    assert failed([_issue("minor", author="big")], {}) == ["G1"]
    assert failed([_issue("minor", author="big")], {"big": "http://127.0.0.1:9/v1"}) == []
    assert failed([_issue("minor")], {}, status="accepted") == ["G3"]
    assert failed([_issue("minor", text="The authors are not native speakers.")], {}) == ["G4"]
    assert (
        failed([_issue("minor", text="The text says “the authors are native speakers”.")], {}) == []
    )


def test_a_model_s_server_is_disclosed() -> None:
    """Ours: whoever reads the report learns where the manuscript went."""
    told = disclose([_issue("minor", author="big")], [], {"big": "http://10.0.0.7:8000/v1"})
    assert told.urls == ("http://10.0.0.7:8000/v1",)
    assert "http://10.0.0.7:8000/v1" in told.text
    assert "big 1" in told.text
    assert "did not leave this machine" in disclose([_issue("minor")], [], {}).text


@claim("xpeerd:reproducible")
def test_the_same_manuscript_and_profile_give_the_same_bytes() -> None:
    """Paper: "deterministic" means that the same input takes the same path; ours, byte for byte."""
    wrong = frozenset({"p_F", "grim", "unused_reference"})
    first, again = _report(4, wrong), _report(4, wrong)
    assert first.to_json() == again.to_json()
    assert Report.model_validate_json(first.to_json()).digest() == first.digest()
    assert _report(5, wrong).digest() != first.digest()


def test_a_signature_is_a_person_s_and_holds_for_one_version_of_the_report(tmp_path: Path) -> None:
    """Ours: G3: the machine recommends, somebody with a name decides."""
    path = write_report(_report(), tmp_path)
    sign_report(path, "J. Roe", "revise")
    signature = load_signature(path)
    assert signature is not None
    assert (signature.name, signature.decision, signature.digest) == (
        "J. Roe",
        "revise",
        load_report(path).digest(),
    )
    path.write_bytes(_report(2).to_json())
    assert load_signature(path) is None
    with pytest.raises(ValueError, match="give a name"):
        sign_report(path, " ", "revise")
    with pytest.raises(ValueError, match="accept, revise, reject"):
        sign_report(path, "J. Roe", "maybe")


def test_the_spread_counts_what_flips_and_how_far_s_moves() -> None:
    """Ours: the sample's standard deviation, and the share of verdicts that differ from the first."""
    first = _report()
    other = first.model_copy(
        update={
            "scores": first.scores.model_copy(update={"S": first.scores.S - 0.2}),
            "decision": first.decision.model_copy(update={"verdict": "reject"}),
        }
    )
    spread = spread_of([first, other, first])
    assert spread.flip_rate == 0.5
    assert spread.sd == pytest.approx(0.2 / 3**0.5)
    assert spread_of([first, first]).sd == 0.0
    with pytest.raises(ValueError, match="one manuscript"):
        spread_of([first, _report(9)])


def test_the_cut_of_ratings_is_found_and_told_with_what_it_does_elsewhere() -> None:
    """Ours: labels that follow the values give a cut between them; shuffled ones give chance."""
    values = [n / 40 for n in range(40)]
    cut = fit_cut(values, [value > 0.6 for value in values])
    assert 0.6 < cut.value < 0.63
    assert cut.balanced_accuracy == 1.0
    assert cut.held_out > 0.9
    shuffled = [(n * 17) % 40 < 20 for n in range(40)]
    assert fit_cut(values, shuffled).held_out < 0.75
    with pytest.raises(ValueError, match="both kinds"):
        fit_cut(values, [True] * 40)


def test_iclr_2020_was_cut_at_five_and_a_half(data_folder: Path) -> None:
    """Paper: the ratings of ICLR 2020 and the decisions taken on them, on the shared rows."""
    with (data_folder / "iclr2020" / "ratings_decisions.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    ratings = [float(row["avg"]) for row in rows]
    accepted = [row["decision"].startswith("Accept") for row in rows]
    profile = load_profile("iclr").ratings
    assert profile is not None

    def accuracy(cut: float) -> float:
        right = sum((rating >= cut) is told for rating, told in zip(ratings, accepted, strict=True))
        return right / len(ratings)

    # Few rejections lie above 5.5, so the cut of the best balance is lower than that of most hits.
    assert accuracy(profile.accept) >= max(map(accuracy, set(ratings))) - 0.01
    fitted = fit_cut(ratings, accepted)
    assert fitted.held_out > 0.85
    assert fitted.value < profile.accept
