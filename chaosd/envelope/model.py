"""The public contract of what travels: EventEnvelope and the data of a SYSTEM_ERROR."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from chaosd.envelope.kinds import ErrorType, EventType


class EventEnvelope(BaseModel):
    """One event. A child keeps correlation_id and trace_id; its causation_id and parent_trace_id are the parent's id.

    Money in `data` is Decimal text, never a float. `ts` carries its offset.
    """

    model_config = ConfigDict(frozen=True)

    id: UUID
    correlation_id: UUID
    causation_id: UUID | None = None
    trace_id: UUID
    parent_trace_id: UUID | None = None
    broker: str
    type: EventType
    ts: AwareDatetime
    key: str
    source: str
    version: Annotated[int, Field(ge=1)] = 1
    data: dict[str, Any] = Field(default_factory=dict)


class DlqMetadata(BaseModel):
    """Where a dead letter comes from."""

    original_topic: str
    original_partition: int
    original_offset: int
    original_timestamp: datetime
    dlq_timestamp: datetime
    service_name: str


class FailureInfo(BaseModel):
    """What went wrong."""

    error_type: ErrorType
    error_class: str
    error_message: str
    failure_reason: str
    retry_count: int


class OriginalMessage(BaseModel):
    """The record as it came; what is not UTF-8 is in base64."""

    key: str | None
    value: str | None
    headers: dict[str, str | None]


class ReplayMetadata(BaseModel):
    """Whether a dead letter may go back."""

    can_replay: bool
    suggested_delay_minutes: int
    requires_manual_review: bool


class SystemErrorData(BaseModel):
    """`data` of a SYSTEM_ERROR in the `chaosd` dialect."""

    dlq_metadata: DlqMetadata
    failure_info: FailureInfo
    original_message: OriginalMessage
    replay_metadata: ReplayMetadata
