"""Keys of ours in A2A metadata; docs/binding.md, section 14, says what they hold."""

from typing import Final

SKILL_KEY: Final = "dev.repertory/skill"
REASON_KEY: Final = "dev.repertory/reason"
QUESTION_KEY: Final = "dev.repertory/question"
TASK_META: Final = "dev.repertory/task"
