"""The agents of a review: reader, claim mapper, reviewers, integrity checker, area chair, desk.

Each answers with data, so any of them can be asked from elsewhere or be replaced. What they
compute is a pure function of what they are given, in a worker thread; only a reviewer
that is told to asks its model, and what the model says decides nothing.
"""

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, Literal, ParamSpec, TypeVar

from anyio import create_task_group, to_thread
from pydantic import BaseModel, ConfigDict, Field

from repertory.agents import (
    Agent,
    AgentSpec,
    ModelError,
    OptionsInvalidError,
    TierError,
    Turn,
)
from repertory.protocol import Artifact, Part, Task, TaskState

from .argument import ArgumentMap, map_arguments
from .checklist import check_methods
from .exchange import Data, answer, answered, manuscript_of, packed, sent, unpacked
from .guards import require_exportable
from .ingest import MOST_PAGES, read_manuscript
from .integrity import check_integrity
from .manuscript import Manuscript
from .profiles import Profile, load_profile
from .prompting import PROMPTS, ask_for_issues
from .report import CheckCount, Claim, Flag, Graph, Issue, Report
from .reviewers import (
    evidence_issues,
    integrity_issues,
    methods_issues,
    presentation_issues,
    strengths_of,
)
from .reviewing import assemble

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Options = TypeVar("_Options", bound=BaseModel)
REVIEWERS = ("methods_reviewer", "evidence_reviewer", "presentation_reviewer")


class _OptionsModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReaderOptions(_OptionsModel):
    """pages: manuscripts with more pages are refused."""

    pages: int = Field(default=MOST_PAGES, ge=1, le=2000)


class ReviewerOptions(_OptionsModel):
    """focus: what the reviewer looks at. profile: the venue's. use_model: also ask its model."""

    focus: Literal["methods", "evidence", "presentation"]
    profile: str = "journal"
    use_model: bool = False
    seed: int = 0


class ChairOptions(_OptionsModel):
    """profile: the venue's, by name or file. seed: told in the report's basis.

    served: models by name, and the URL that serves each; "" for a model of this machine.
    """

    profile: str = "journal"
    seed: int = 0
    served: dict[str, str] = Field(default_factory=dict)


class DeskOptions(_OptionsModel):
    """out: the folder for reports. humans: a file of human reviews to compare with, or ""."""

    out: str = "reviews"
    humans: str = ""


def _options(kind: type[_Options], spec: AgentSpec) -> _Options:
    try:
        return kind.model_validate(dict(spec.options))
    except ValueError as error:
        known = ", ".join(kind.model_fields)
        told = " ".join(str(error).split())
        sentence = f"the options of agent {spec.name} are wrong; known: {known}; {told}"
        raise OptionsInvalidError(sentence, agent=spec.name) from None


async def _thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    return await to_thread.run_sync(partial(function, *args, **kwargs))


class Reader(Agent):
    """Read a file into a manuscript of pages and units."""

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self.options = _options(ReaderOptions, spec)

    async def handle(self, turn: Turn) -> None:
        part = turn.message.parts[0]
        content = part.raw if part.raw is not None else (part.text or "").encode()
        name = part.filename or "manuscript"
        manuscript = await _thread(read_manuscript, name, content, most_pages=self.options.pages)
        told = {"name": manuscript.name, "pages": len(manuscript.pages), "words": manuscript.words}
        await answer(turn, told, packed(manuscript))


class IntegrityChecker(Agent):
    """Recompute what can be recomputed, and look for what hides."""

    async def handle(self, turn: Turn) -> None:
        manuscript, _ = manuscript_of(turn)
        flags, counts = await _thread(check_integrity, manuscript)
        issues = integrity_issues(flags)
        await answer(
            turn, {"flags": _list(flags), "checks": _list(counts), "issues": _list(issues)}
        )


class ClaimMapper(Agent):
    """Find claims and evidence, and what supports and attacks them."""

    async def handle(self, turn: Turn) -> None:
        manuscript, given = manuscript_of(turn)
        flags = _read(Flag, given["flags"])
        mapped = await _thread(map_arguments, manuscript, flags)
        await answer(turn, {"claims": _list(mapped.claims), "graph": _data(mapped.graph)})


class Reviewer(Agent):
    """Raise issues of one kind: methods, evidence or presentation.

    With `use_model` it asks its model for more; the model must be of tier judge, its issues
    need quotes, and those that do not stand on their page are reported as ungrounded.
    """

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self.options = _options(ReviewerOptions, spec)

    async def handle(self, turn: Turn) -> None:
        manuscript, given = manuscript_of(turn)
        profile = await _thread(load_profile, self.options.profile, self.spec.folder)
        issues = await _thread(self._by_rule, manuscript, profile, given)
        told: list[str] = []
        if self.options.use_model:
            try:
                written = await ask_for_issues(
                    turn, manuscript, self.options.focus, self.options.seed
                )
                issues = [*issues, *written]
            except TierError as error:
                told.append(f"{turn.agent} was written by rules alone: {error.sentence}")
            except ModelError as error:
                told.append(f"{turn.agent}'s model gave nothing: {error.sentence}")
        await answer(turn, {"issues": _list(issues), "said": told})

    def _by_rule(self, manuscript: Manuscript, profile: Profile, given: Data) -> list[Issue]:
        issues: list[Issue]
        if self.options.focus == "methods":
            issues = methods_issues(check_methods(manuscript, profile.skip), profile)
        elif self.options.focus == "evidence":
            issues = evidence_issues(manuscript, _mapped(given))
        else:
            issues = presentation_issues(manuscript, check_methods(manuscript, profile.skip))
        return [issue.model_copy(update={"reviewer": self.spec.name}) for issue in issues]


class AreaChair(Agent):
    """Weigh the reviews, score, and recommend by the venue's rules."""

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self.options = _options(ChairOptions, spec)

    async def handle(self, turn: Turn) -> None:
        manuscript, given = manuscript_of(turn)
        profile = await _thread(load_profile, self.options.profile, self.spec.folder)
        report = await _thread(self._report, manuscript, given, profile)
        await answer(turn, {"verdict": report.decision.verdict}, packed(report))

    def _report(self, manuscript: Manuscript, given: Data, profile: Profile) -> Report:
        mapped = _mapped(given)
        counts = _read(CheckCount, given["checks"])
        items = check_methods(manuscript, profile.skip)
        issues = _read(Issue, given["issues"])
        written = any(issue.author != "rules" for issue in issues)
        return assemble(
            manuscript,
            profile,
            _read(Flag, given["flags"]),
            counts,
            mapped,
            items,
            issues,
            strengths_of(manuscript, items, mapped, counts),
            seed=self.options.seed,
            prompts=sha256(PROMPTS.encode()).hexdigest() if written else "",
            served=self.options.served,
            said=given["said"],
        )


class Desk(Agent):
    """See one manuscript through its review, and let no report out that fails a guard."""

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self.options = _options(DeskOptions, spec)

    async def handle(self, turn: Turn) -> None:
        await turn.report("reading")
        read = await turn.ask("reader", sent(turn, "reader", turn.message.parts[0]))
        if read.status.state is not TaskState.COMPLETED:
            message = read.status.message
            await turn.reject(message.text if message is not None else "it cannot be read")
            return
        about, (manuscript,) = answered(read)
        await turn.report(f"checking {about['pages']} pages")
        checked = await self._ask(turn, "integrity_checker", manuscript)
        mapped = await self._ask(turn, "claim_mapper", manuscript, {"flags": checked["flags"]})
        await turn.report(f"reviewing {len(mapped['claims'])} claims")
        reviewers = [name for name in REVIEWERS if name in turn.peers]
        answers: dict[str, Data] = {}

        async def review(name: str) -> None:
            answers[name] = await self._ask(turn, name, manuscript, mapped)

        async with create_task_group() as tasks:
            for name in reviewers:
                tasks.start_soon(review, name)
        reviews = [answers[name] for name in reviewers]
        case = {
            "flags": checked["flags"],
            "checks": checked["checks"],
            **mapped,
            "issues": [*checked["issues"], *(i for r in reviews for i in r["issues"])],
            "said": [said for r in reviews for said in r["said"]],
        }
        weighed = await turn.ask("area_chair", sent(turn, "area_chair", manuscript, case))
        report = unpacked(Report, answered(weighed)[1][0])
        require_exportable(report)
        parts = (Part(data=_data(report)),)
        await turn.add_artifact(Artifact(artifact_id="report", name="report", parts=parts))
        await turn.complete(told(report))

    async def _ask(self, turn: Turn, peer: str, manuscript: Part, data: Data | None = None) -> Data:
        return answered(await turn.ask(peer, sent(turn, peer, manuscript, data)))[0]


def told(report: Report) -> str:
    """A report in one sentence."""
    majors = sum(issue.severity == "major" for issue in report.issues)
    return (
        f"{report.decision.verdict}: S {report.scores.S:.2f}, integrity risk {report.scores.r_f:.2f},"
        f" {majors} major and {len(report.issues) - majors} minor issues, {len(report.flags)} flags"
    )


def report_of(task: Task) -> Report | None:
    """The report that a desk's task gave; None where it gave none."""
    for artifact in task.artifacts:
        if artifact.artifact_id == "report" and artifact.parts and artifact.parts[0].has_data:
            return Report.model_validate(artifact.parts[0].data)
    return None


def _mapped(given: Data) -> ArgumentMap:
    return ArgumentMap(tuple(_read(Claim, given["claims"])), Graph.model_validate(given["graph"]))


_Model = TypeVar("_Model", bound=BaseModel)


def _read(kind: type[_Model], data: Sequence[Any]) -> list[_Model]:
    return [kind.model_validate(each) for each in data]


def _data(model: BaseModel) -> Data:
    return model.model_dump(mode="json")


def _list(models: Sequence[BaseModel]) -> list[Data]:
    return [_data(model) for model in models]
