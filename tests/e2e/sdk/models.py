"""The models that the clients' calls name, beside weft-tiny."""

from tests.e2e.sdk.clients.calls import EYE, THINKER, VECTORS
from tests.e2e.stack import ROOT, Stack
from tests.eye import write_projector
from tests.minilm import minilm_gguf
from tests.thinker import write_thinker

TINY = ROOT / "worker/weft_worker/models/weft-tiny.gguf"


def add_models(stack: Stack) -> None:
    """Write their files, and wait until they are in the catalog."""
    eye = stack.home / "models/sdk-eye.gguf"
    eye.parent.mkdir(parents=True, exist_ok=True)
    if not eye.exists():
        write_projector(eye)
    weights = {"model": str(minilm_gguf())}
    stack.write_model(VECTORS, "llama-cpp", parameters=weights, embeddings=True, parallel=2)
    stack.write_model(EYE, "llama-cpp", parameters={"model": str(TINY)}, mmproj=eye.name, context_size=512)
    thinker = write_thinker(stack.home / "models/sdk-thinker.gguf")
    stack.add_model(THINKER, "llama-cpp", parameters={"model": thinker.name})
