"""This process's metrics, for a Prometheus that comes by the api's own port with a person's token."""

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

router = APIRouter(tags=["health"])

_EXAMPLE = """# HELP maestro_database_pool_limit Connections that the pool may have.
# TYPE maestro_database_pool_limit gauge
maestro_database_pool_limit 8.0
"""


# A plain function, which FastAPI runs in a thread: writing a thousand lines would hold up every request.
@router.get(
    "/metrics",
    summary="This process's metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Every metric with what it says and its samples.",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE}},
        }
    },
)
def prometheus_metrics(request: Request) -> Response:
    """In Prometheus' text format, or in OpenMetrics' when that is asked for."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(request.app.state.registry), headers={"Content-Type": content_type})
