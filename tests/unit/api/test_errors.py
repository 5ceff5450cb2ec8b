import json

import pytest

from maestro import errors
from maestro_api.errors import render

EVERY = [
    (errors.BadInput(), 400),
    (errors.Unauthorized(), 401),
    (errors.Forbidden(), 403),
    (errors.NotFound(), 404),
    (errors.KindNotServed(), 503),
    (errors.Conflict(), 409),
    (errors.NameTaken(), 409),
    (errors.AutomationSuspended(), 409),
    (errors.AttemptSuperseded(), 409),
    (errors.ConcurrencyLimited(), 409),
    (errors.JobEnded(), 409),
    (errors.OwnedElsewhere(), 409),
    (errors.TooLarge(), 413),
    (errors.ParametersRefused([errors.FieldError("a", "is required")]), 422),
    (errors.IdempotencyKeyReused(), 422),
    (errors.SpecRefused("Reason", "said"), 400),
    (errors.Unavailable(), 503),
    (errors.Overloaded(), 503),
    (errors.DatabaseAway(), 503),
    (errors.BrokerAway(), 503),
    (errors.KubernetesAway(), 503),
    (errors.TooManyStreams(), 503),
]


def subclasses(kind: type) -> set[type]:
    return {kind}.union(*(subclasses(each) for each in kind.__subclasses__()))


def test_the_whole_tree_has_its_code() -> None:
    ours = {each for each in subclasses(errors.MaestroError) if each.__module__ == errors.__name__}
    assert ours - {errors.MaestroError} == {type(error) for error, _ in EVERY}


@pytest.mark.parametrize(("error", "code"), EVERY)
def test_an_error_is_a_sentence(error: errors.MaestroError, code: int) -> None:
    reply = render(error)
    body = json.loads(bytes(reply.body))
    assert reply.status_code == code
    assert body["error"] == error.message
    assert reply.headers[errors.ERROR_HEADER] == type(error).__name__
    assert ("retry-after" in reply.headers) == (code == 503)
    assert ("www-authenticate" in reply.headers) == (code == 401)
    assert set(body) == ({"error", "fields"} if code == 422 else {"error"})
