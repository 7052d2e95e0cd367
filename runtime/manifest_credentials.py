"""The manifest's `credentials`: by what an agent or a tool server elsewhere knows this network.

They name variables and files; the secrets themselves are never in a manifest.
"""

from pydantic import Field, model_validator

from .manifest_entry import Entry


class Credentials(Entry):
    """This network's own identity at one peer; what its callers showed is never handed on."""

    token_env: str = Field(
        default="", description="The environment variable that holds a token or an API key."
    )
    token_url: str = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        description="Or the authorization server's token endpoint.",
    )
    client_id: str = Field(default="", description="Who this network is there.")
    secret_env: str = Field(
        default="", description="The environment variable that holds the client's secret."
    )
    scopes: tuple[str, ...] = Field(default=(), description="What is asked for, and no more.")
    subject_file: str = Field(
        default="",
        description="A file with a workload's own token, to be exchanged (RFC 8693).",
    )
    ca: str = Field(default="", description="Whose certificates to believe, as PEM.")
    certificate: str = Field(default="", description="A client certificate, as PEM.")
    key: str = Field(default="", description="Its private key, as PEM.")

    @model_validator(mode="after")
    def _whole(self) -> "Credentials":
        if self.token_env and self.token_url:
            raise ValueError("needs either 'token_env' or 'token_url', not both")
        if self.token_url and not self.client_id:
            raise ValueError("needs a 'client_id' beside 'token_url'")
        if bool(self.certificate) != bool(self.key):
            raise ValueError("needs both 'certificate' and 'key'")
        return self
