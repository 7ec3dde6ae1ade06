"""What a client error says about a send: the one table. Unknown is not failed.

REJECTED needs proof that no attempt can have been appended: the broker refuses such a record at every attempt, or the
client refused it before the first. A size that was refused now may have been taken before, for the limit of a topic can
be made smaller: then only a single attempt is proof. Everything else is INDETERMINATE.
"""

from __future__ import annotations

from aiokafka import errors

from chaosd.journal.columns import Outcome

# Refused for its size, by the limit that the topic has now.
TOO_LARGE: tuple[type[BaseException], ...] = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)
# Refused at every attempt, so no earlier one can have been appended.
_DEFINITE: tuple[type[BaseException], ...] = (
    errors.InvalidTopicError,
    errors.TopicAuthorizationFailedError,
    errors.UnsupportedForMessageFormatError,
)
# Raised by `send()` itself: the record never entered a batch.
_LOCAL: tuple[type[BaseException], ...] = (*_DEFINITE, *TOO_LARGE, errors.KafkaTimeoutError, errors.ProducerClosed)
# The producer's sequence is lost: every later send on that partition fails for ever (reference: aiokafka 0.14).
POISONING: tuple[type[BaseException], ...] = (errors.OutOfOrderSequenceNumber, errors.ProducerFenced)


def outcome_of(error: BaseException, *, local: bool, tries: int = 1) -> Outcome:
    """The outcome of a send that ended in `error`; `local` when `send()` itself raised it, else after `tries`."""
    definite = _LOCAL if local else (*_DEFINITE, *(TOO_LARGE if tries == 1 else ()))
    return Outcome.REJECTED if isinstance(error, definite) else Outcome.INDETERMINATE
