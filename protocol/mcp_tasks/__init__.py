"""MCP's tasks extension (SEP-2663, `io.modelcontextprotocol/tasks`), for the official SDK.

A piece of its own: it stands on `mcp` alone and knows nothing of A2A or of the rest
of this package. The server half answers `tasks/get`, `tasks/update` and
`tasks/cancel` over a `TaskBackend`, and pushes `notifications/tasks` on
`subscriptions/listen`; `DurableTasks` is a backend that runs tools as tasks and
takes them up again after a restart. The client half polls a task to its result.

    tasks = DurableTasks(SqliteTaskStore("tasks.db"))

    @tasks.tool("report")
    async def report(arguments, task):
        ok = await task.ask({"ok": confirm("Really?")})
        return CallToolResult(content=[TextContent(text="done")])

    server = MCPServer("reports", extensions=[TasksExtension(tasks)])
    async with tasks.running():
        ...

    async with Client(url, extensions=[TasksClient(answer=ask_the_user)]) as client:
        result = await client.call_tool("report", {})
"""

from .backend import CreatedTask, Owner, TaskBackend, TaskNotFoundError
from .client import TasksClient, TaskUpdates
from .durable import DurableTasks, RunningTask
from .listening import Listening
from .server import Tasks, TasksExtension
from .shapes import TASKS, TaskStatus, TaskView
from .stores import MemoryTaskStore, SqliteTaskStore, StoredTask, TaskStore

__all__ = [
    "TASKS",
    "CreatedTask",
    "DurableTasks",
    "Listening",
    "MemoryTaskStore",
    "Owner",
    "RunningTask",
    "SqliteTaskStore",
    "StoredTask",
    "TaskBackend",
    "TaskNotFoundError",
    "TaskStatus",
    "TaskStore",
    "TaskUpdates",
    "TaskView",
    "Tasks",
    "TasksClient",
    "TasksExtension",
]
