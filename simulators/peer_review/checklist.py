"""The methods checklist: questions that a text answers with a sentence, or does not.

Which questions apply follows from what the manuscript says of itself: people are asked
about consent, tests about effect sizes, trained models about seeds.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .argument import labeled_units, mentions
from .findings import Sentence, sentences_of, slice_anchor
from .manuscript import Manuscript, Section, Unit
from .report import Anchor, Category, Item
from .sentences import flatten


@dataclass(frozen=True, slots=True)
class Question:
    """applies, answers: what a sentence says when the question applies, or is answered.

    sections: kinds of sections that answer it by being there. missing: what the review says
    where it is not answered; action: what the authors should do.
    """

    id: str
    category: Category
    major: bool
    text: str
    missing: str
    action: str
    answers: str
    applies: str = ""
    sections: tuple[str, ...] = ()
    fewest: int = 1


_HUMAN = r"\b(?:participants?|patients?|respondents?|volunteers|interviewees|human subjects|(?:undergraduate|graduate|medical|nursing|university|psychology) students|crowd ?workers|annotators)\b"
_LEARNED = r"\b(?:neural network|deep learning|transformers?|fine-?tun\w+|pre-?train\w+|language models?|classifier|learning rate|training (?:set|data)|trained (?:on|with|a|the|our)|epochs?|embeddings?)\b"
_TESTED = r"\b[pP]\s*[<=>≤]\s*0?\.\d|\bp-?values?\b|\bt-?tests?\b|\bANOVA\b|\bregression\b|\bchi-?squared?\b|χ"
_MEASURED = r"\b(?:accuracy|precision|recall|F1|BLEU|ROUGE|AUC|error rate|RMSE|MAE|perplexity|score[sd]?|mean|average|percent|%)\b"
_COMPARED = r"\b(?:outperform\w*|better than|state[- ]of[- ]the[- ]art|improv\w+ (?:over|by|upon)|superior|compared (?:to|with))\b"
_THEORY = r"\b(?:theorem|lemma|corollary|proposition)\s+\d"

QUESTIONS: tuple[Question, ...] = (
    Question("research_question", "study_design", False, "Is the question or hypothesis stated?", "The text does not say which question or hypothesis it answers.", "State the research question or hypothesis in the introduction.", r"\b(?:research questions?|hypothes[ie][sz]\w*|we (?:ask|investigate|examine|study|explore|test|aim|address|propose|introduce|present|review)|aims? (?:of|to)|this (?:paper|study|work|article) (?:\w+ly )?(?:aims|investigates|examines|addresses|asks|proposes|presents|introduces|reviews|describes)|objective|goal (?:of|is)|purpose of)\b"),
    Question("data_described", "methods_reproducibility", True, "Are the data described, with their size?", "The text does not say how much data there are or where they come from.", "Describe the data: source, size, how they were collected and what was left out.", r"\b(?:[nN]\s*=\s*\d|\d[\d,.]*\s*(?:k|M)?\s+(?:\w+[ -]){0,3}(?:participants|patients|respondents|students|subjects|samples?|examples?|instances|images|documents|sentences|papers|articles|records|cases|queries|users|tweets|reviews|datasets?|items|trials|observations|animals|rats|mice|children|adults|women|men|pairs|questions|tasks|genes|cells|specimens|studies|videos|tokens|words|proteins|molecules|compounds|households|schools|interviews|events|people|individuals))\b|\bdata ?sets? (?:of|contains?|consists?|comprises?|includes?)\b", applies=r"\b(?:data|dataset|sample|corpus|experiment|participants|measured|collected|survey|trial)\b"),
    Question("participants_described", "study_design", False, "Are the participants described?", "Age, sex or recruitment of the participants are not described.", "Say who the participants are and how they were recruited.", r"\b(?:mean age|aged?\b|years old|female|male|women|men|gender|sex|recruited|recruitment|inclusion criteria|eligib\w+|demographic\w*)\b", applies=_HUMAN, fewest=3),
    Question("ethics", "ethics_reporting", True, "Is ethical approval or consent reported?", "People or animals take part, and neither approval nor consent is reported.", "Name the ethics committee and its approval, and say how consent was given.", r"\b(?:ethics?\b|ethical(?:ly)?\b|IRB|institutional review board|informed consent|\bconsent(?:ed)?\b|Declaration of Helsinki|animal care|Home Office|approved by|exempt\w*)\b", applies=_HUMAN + r"|\b(?:mice|rats|animals were)\b", sections=("ethics",), fewest=3),
    Question("sample_size", "study_design", False, "Is the sample size justified?", "Nothing says why the sample has the size it has.", "Add a power analysis, or say what decided the sample size.", r"\b(?:power (?:analysis|calculation)|sample size (?:was|calculation|of)|statistical power|a priori|G\*Power|powered to|saturation)\b", applies=r"\b(?:participants|patients|respondents|volunteers)\b[^.]{0,200}\b(?:group|condition|randomi[sz]ed|survey|trial|experiment)", fewest=1),
    Question("control", "study_design", True, "Is there a baseline or a control to compare with?", "The results are compared with no baseline or control.", "Add a baseline or a control, and report it under the same conditions.", r"\b(?:baselines?|control (?:group|condition|experiment|arm)s?|placebo|controls|compared (?:to|with|against)|comparison (?:with|to|of|between)|versus|vs\.?|ablation|state[- ]of[- ]the[- ]art (?:methods|models)|between (?:the )?groups|reference (?:group|method)|randomly assigned|randomi[sz]ed (?:to|controlled|experiment|trial)|groups (?:are|were) compared|(?:two|three|four) (?:groups|conditions|arms))\b", applies=_MEASURED, fewest=4),
    Question("randomization", "study_design", False, "Is the assignment to groups described?", "There are groups, and the text does not say how anybody came into them.", "Describe the assignment to groups, and who was blind to it.", r"\b(?:random\w*|blind\w*|counterbalanc\w*|allocat\w+|assigned (?:to|by)|matched|self-selected|quasi-experiment\w*|within-subjects?|stratif\w+)\b", applies=r"\b(?:treatment|experimental|intervention|control) (?:group|condition|arm)\b", fewest=2),
    Question("uncertainty", "statistics", True, "Is uncertainty reported with the results?", "Results are given without intervals, deviations or tests.", "Report intervals or standard deviations, and over how many runs or cases they are taken.", r"\b(?:CIs?|confidence intervals?|credible intervals?|standard (?:deviations?|errors?)|SDs?|SEMs?|error bars?|variance|interquartile|IQR|bootstrap\w*|[pP]\s*[<=>≤]\s*0?\.\d|p-?values?|statistical(?:ly)? (?:significan\w+|tests?)|inter-rater|t-?tests?|ANOVA|Wilcoxon)\b|±", applies=_MEASURED, fewest=4),
    Question("effect_sizes", "statistics", False, "Are effect sizes reported beside the tests?", "Tests are reported without the size of the effects.", "Report an effect size with its interval beside each test.", r"\b(?:effect sizes?|Cohen|odds ratios?|hazard ratios?|risk ratios?|relative risk|η|eta[- ]squared|R2|R²|r\s*=|d\s*=|g\s*=|β\s*=|OR\s*=|HR\s*=|mean difference|correlation coefficients?|coefficients?|CI|Cliff)\b|η|ω2|\br\s*\(\d", applies=r"\b[pP]\s*[<=>≤]\s*0?\.\d", fewest=2),
    Question("multiplicity", "statistics", False, "Are many tests corrected for their number?", "Many tests are reported, and no correction for their number.", "Correct for the number of tests, or say which was the primary one.", r"\b(?:bonferroni|holm|benjamini|hochberg|FDR|false discovery|multiple (?:comparisons?|testing)|tukey|family-?wise|adjusted p|correct(?:ed|ion) for multiple|pre-?registered|primary outcome|scheff[eé]|dunnett|šidák|sidak)\b", applies=r"\b[pP]\s*[<=>≤]\s*0?\.\d", fewest=8),
    Question("implementation", "methods_reproducibility", True, "Are settings and implementation given?", "The settings under which the models were trained are not given.", "Give the hyperparameters, the software and the hardware.", r"\b(?:hyper-?parameters?|learning rate|batch size|epochs?|optimi[sz]er|Adam\w?|GPUs?|dropout|weight decay|temperature|implementation details|beam (?:size|search)|grid search|trained for)\b", applies=_LEARNED, fewest=4),
    Question("seeds", "methods_reproducibility", False, "Are results taken over several runs?", "Nothing says over how many runs or seeds the results are taken.", "Repeat the runs with other seeds, and report the spread.", r"\b(?:seeds?|(?:three|four|five|ten|\d+) (?:independent |different |random )?(?:runs|trials|repetitions|initiali[sz]ations|restarts|times)|averaged over|average of \w+ runs|cross-validation|folds?|repeated (?:\w+ )?times|multiple runs|deterministic)\b", applies=_LEARNED, fewest=4),
    Question("ablation", "study_design", False, "Is it shown which part of the method does the work?", "It is not shown which part of the proposed method brings the gain.", "Add an ablation that removes one part at a time.", r"\b(?:ablat\w+|without (?:the|our) \w+ (?:module|component|loss|layer)|component analysis|contribution of each|effect of each|w/o|removing (?:the|each)|variants? of (?:our|the))\b", applies=r"\bwe propose\b[^.]{0,120}\b(?:method|model|framework|architecture|network|approach|algorithm|system)\b|\bour (?:proposed )?(?:model|method|framework|architecture)\b[^.]{0,80}\boutperform", fewest=1),
    Question("availability", "methods_reproducibility", False, "Are data or code available?", "Nothing says where the data or the code can be had.", "Say where data and code can be had, or why they cannot.", r"\b(?:(?:code|data|datasets?|materials?|software|source|models?|implementation|scripts?)\b[^.]{0,80}\b(?:available|released?|open[- ]sourced?|public(?:ly)?|repository|deposited|upon request|on request|provided|shared)|github|gitlab|zenodo|osf\.io|figshare|dryad|hugging ?face|anonymous\.4open|supplementary material)\b", sections=("availability",)),
    Question("limitations", "interpretation_claims", True, "Are limitations discussed?", "The text does not discuss its limitations.", "Discuss what the design, the data and the measures cannot show.", r"\b(?:limitations?|limited (?:to|by)|caveats?|threats? to validity|shortcomings?|drawbacks?|weakness(?:es)?|should be interpreted with caution|one limit|does not (?:account|generali[sz]e)|future (?:work|studies|research) (?:should|could|may|will|is))\b", sections=("limitations",)),
    Question("proofs", "other_scientific", True, "Are theorems proven, with their assumptions?", "Theorems are stated without a proof or a place where it stands.", "Give the proof and its assumptions, or say where they stand.", r"\b(?:proofs?|prove[ds]?|Q\.E\.D\.|assumptions?|suppose that|we assume)\b|□|∎", applies=_THEORY),
    Question("comparison_cited", "literature_context", True, "Is what it is compared with cited?", "It is compared with earlier work that is not cited.", "Cite the methods and results that are compared with.", "", applies=_COMPARED),
    Question("floats_used", "presentation_clarity", False, "Is every figure and table referred to?", "", "Refer to each figure and table where it is needed, or remove it.", ""),
    Question("abstract", "presentation_clarity", False, "Is there an abstract?", "There is no abstract that can be found.", "Add an abstract that says what was asked, done and found.", "", sections=("abstract",)),
    Question("conclusion", "presentation_clarity", False, "Is there a conclusion or a discussion?", "There is neither a discussion nor a conclusion.", "Say what follows from the results, and for whom.", "", sections=("conclusion", "discussion")),
)  # fmt: skip
QUESTION_OF = {question.id: question for question in QUESTIONS}


def check_methods(manuscript: Manuscript, skipped: Sequence[str] = ()) -> tuple[Item, ...]:
    """Every question with its answer; passed is None where it does not apply.

    skipped: ids of questions that the venue does not ask.
    """
    body = [s for s in sentences_of(manuscript, ("text", "table", "figure")) if len(s.text) < 3000]
    special: dict[str, Callable[[Manuscript, Sequence[Sentence]], Item | None]] = {
        "comparison_cited": _comparison_cited,
        "floats_used": _floats_used,
    }
    items = []
    for question in QUESTIONS:
        if question.id in skipped:
            continue
        if question.id in special:
            told = special[question.id](manuscript, body)
            items.append(
                told
                or Item(
                    id=question.id, question=question.text, passed=None, detail="it does not apply"
                )
            )
            continue
        items.append(_asked(question, manuscript, body))
    return tuple(items)


def _asked(question: Question, manuscript: Manuscript, body: Sequence[Sentence]) -> Item:
    trigger = None
    if question.applies:
        applies = re.compile(
            question.applies, re.IGNORECASE if question.id != "multiplicity" else 0
        )
        found = [(s, m) for s in body if (m := applies.search(s.text))]
        counted = sum(len(applies.findall(s.text)) for s, _ in found)
        if counted < question.fewest:
            return Item(
                id=question.id, question=question.text, passed=None, detail="it does not apply"
            )
        trigger = found[0][0]
    if question.answers:
        answers = re.compile(question.answers, re.IGNORECASE)
        for sentence in body:
            answer = answers.search(sentence.text)
            if answer:
                start = max(0, answer.start() - 60)
                start = sentence.text.find(" ", start) + 1 if start else 0
                anchor = sentence.anchor(
                    min(start, answer.start()), min(len(sentence.text), answer.end() + 60)
                )
                return Item(
                    id=question.id,
                    question=question.text,
                    passed=True,
                    detail=f"“{answer.group().strip()}”",
                    anchors=(anchor,),
                )
    section = next((s for s in manuscript.sections if s.kind in question.sections), None)
    if section is not None:
        return Item(
            id=question.id,
            question=question.text,
            passed=True,
            detail=f"section “{section.title}”",
            anchors=(section_anchor(manuscript, section),),
        )
    detail = f"it applies because of “{_short(trigger.text)}”" if trigger else ""
    return Item(
        id=question.id,
        question=question.text,
        passed=False,
        detail=detail,
        anchors=_where(question, manuscript, trigger),
    )


def _short(text: str) -> str:
    return text if len(text) <= 120 else text[:117].rsplit(" ", 1)[0] + " …"


_PLACES = {
    "statistics": ("results", "methods"),
    "study_design": ("methods", "results"),
    "methods_reproducibility": ("methods", "results"),
    "interpretation_claims": ("discussion", "conclusion", "results"),
    "literature_context": ("related", "introduction"),
    "ethics_reporting": ("methods", "ethics"),
}


def _where(
    question: Question, manuscript: Manuscript, trigger: Sentence | None
) -> tuple[Anchor, ...]:
    """Where something is missing: the sentence that asks for it, and the section it belongs in."""
    anchors = [trigger.anchor()] if trigger is not None else []
    for kind in _PLACES.get(question.category, ("introduction", "conclusion")):
        section = next((s for s in manuscript.sections if s.kind == kind), None)
        if section is not None:
            anchors.append(section_anchor(manuscript, section))
            break
    if not anchors:
        anchors.extend(first_anchor(manuscript))
    return tuple(anchors)


def first_anchor(manuscript: Manuscript) -> list[Anchor]:
    """An anchor at the first heading or the first words: what is missing has no place."""
    if manuscript.sections:
        return [section_anchor(manuscript, manuscript.sections[0])]
    first = manuscript.units[:1]
    return [slice_anchor(manuscript, u.page, u.start, min(u.end, u.start + 120)) for u in first]


def section_anchor(manuscript: Manuscript, section: Section) -> Anchor:
    """An anchor at a section's heading."""
    line = manuscript.page_text(section.page)[section.start :].split("\n", 1)[0].rstrip()
    return Anchor(page=section.page, kind="section", ref=line.strip("#*_ "), quote=line, start=section.start, end=section.start + len(line), valid=True)  # fmt: skip


def _comparison_cited(manuscript: Manuscript, body: Sequence[Sentence]) -> Item | None:
    question = QUESTION_OF["comparison_cited"]
    compared = [s for s in body if re.search(_COMPARED, s.text, re.IGNORECASE)]
    if not compared:
        return None
    if manuscript.citations or manuscript.references:
        count = len(manuscript.citations) or len(manuscript.references)
        return Item(
            id=question.id,
            question=question.text,
            passed=True,
            detail=f"{count} citations",
            anchors=(compared[0].anchor(),),
        )
    return Item(
        id=question.id,
        question=question.text,
        passed=False,
        detail="no citation was found",
        anchors=(compared[0].anchor(),),
    )


def _floats_used(manuscript: Manuscript, body: Sequence[Sentence]) -> Item | None:
    question = QUESTION_OF["floats_used"]
    labels = {
        label: unit for label, unit in labeled_units(manuscript).items() if unit.kind != "equation"
    }
    if not labels:
        return None
    told: set[str] = set()
    for page in manuscript.pages:
        flat = flatten(page.text).text
        for label, start, _ in mentions(flat):
            # A caption begins with its own label and is no reference to it.
            if not re.match(r"[A-Za-z.]+\s*\d+\s*[:.|]", flat[start:]):
                told.add(label)
    idle = [
        unit
        for label, unit in labels.items()
        if re.sub(r"[a-z]$", "", label) not in told and label not in told
    ]
    if not idle:
        return Item(
            id=question.id,
            question=question.text,
            passed=True,
            detail=f"all {len(labels)} are",
            anchors=(label_anchor(next(iter(labels.values()))),),
        )
    names = ", ".join(unit.label for unit in idle)
    return Item(
        id=question.id,
        question=question.text,
        passed=False,
        detail=f"not referred to: {names}",
        anchors=tuple(label_anchor(unit) for unit in idle[:4]),
    )


def label_anchor(unit: Unit) -> Anchor:
    """An anchor at a figure's or table's label."""
    kind = unit.kind if unit.kind == "table" or unit.kind == "equation" else "figure"
    return Anchor(
        page=unit.page, kind=kind, ref=unit.label, start=unit.start, end=unit.end, valid=True
    )
